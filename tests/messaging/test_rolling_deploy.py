"""Old workers run on beside new ones, whose code has a handler more: its messages reach it, all of
them from the moment on at which the database knew its name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connections

from ecommerce.messaging import leases, names
from ecommerce.messaging.database import Connection
from ecommerce.messaging.errors import Fenced
from ecommerce.messaging.names import check_names, record, retire
from ecommerce.messaging.registry import Handler, handlers, handles
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.services import service
from inventory.contracts import AdjustInventory, InventoryRestocked
from tests.messaging.calls import Caller, pay
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import restocked
from tests.messaging.steps import Puppet, fetch, in_service, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ALL = set(range(64))
Puppets = Callable[..., Puppet]


def add(reason: str) -> None:
    """Have this code a handler of that name, whose effects can be told by it."""

    def react(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason=reason)

    react.__name__ = reason
    handles(in_service("analytics")(react))


def stored(name: str) -> None:
    """Let the database know a handler that this code does not have."""
    label = name.partition(".")[0]
    record(service(label), [Handler(name, label, "handles", (), print, (), None, ())])


def heard(reason: str) -> list[int]:
    found = [m for m in written("analytics") if isinstance(m, AdjustInventory)]
    return [message.change for message in found if message.reason == reason]


def tokens() -> set[int]:
    return {token for (token,) in fetch("analytics", "SELECT DISTINCT token FROM {partition}")}


@pytest.fixture
def old(puppet: Puppets) -> Puppet:
    """A worker at work, whose code has `analytics.first` only."""
    add("first")
    check_names(service("analytics"))
    worker = puppet("analytics", "old")
    write("inventory", restocked("a", 1))
    worker.work()
    return worker


def deploy(puppet: Puppets) -> Puppet:
    """A worker of new code, which has `analytics.second`, too."""
    add("second")
    check_names(service("analytics"))
    return puppet("analytics", "new")


def test_the_new_handler_gets_everything_and_the_old_one_nothing_twice(
    old: Puppet, puppet: Puppets, caplog: pytest.LogCaptureFixture
) -> None:
    # given
    new = deploy(puppet)
    # when
    write("inventory", restocked("a", 2))
    with pytest.raises(Fenced):
        old.step()
    # then the old worker holds nothing any more, and says so once
    assert old.hold() == old.hold() == set()
    assert [r.message for r in caplog.records if "lacks" in r.message] == [
        "old delivers nothing of analytics any more, its code lacks analytics.second"
    ]
    # and the new one has all of it, at once
    assert new.hold() == ALL
    new.work()
    assert (heard("first"), heard("second")) == ([1, 2], [2])
    assert fetch("analytics", "SELECT max(takeovers) FROM {partition}") == [(0,)]


def test_control_with_its_leases_the_old_worker_reads_past_the_new_handlers_messages(
    old: Puppet, puppet: Puppets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_take_away", lambda *_: None)
    new = deploy(puppet)

    write("inventory", restocked("a", 2))
    old.step()
    old.release()
    new.work()

    assert (heard("first"), heard("second")) == ([1, 2], [])


def test_control_without_asking_for_names_the_old_worker_takes_part_again(
    old: Puppet, puppet: Puppets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "lacking", lambda _, services: [[] for _ in services])
    deploy(puppet)

    write("inventory", restocked("a", 2))
    old.work()

    assert (heard("first"), heard("second")) == ([1, 2], [])


def test_a_batch_under_way_when_the_name_is_stored_is_run_again_by_new_code(
    puppet: Puppets,
) -> None:
    # given
    news: list[Puppet] = []

    def hear(event: InventoryRestocked) -> AdjustInventory:
        if not news:
            news.append(deploy(puppet))
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="hear")

    handles(in_service("analytics")(hear))
    check_names(service("analytics"))
    old = puppet("analytics", "old")
    write("inventory", restocked("a", 1))
    # when
    with pytest.raises(Fenced):
        old.work()
    old.hold()
    news[0].work()
    # then
    assert (heard("hear"), heard("second")) == ([1], [1])


def test_many_new_workers_that_begin_at_once_take_leases_away_once(old: Puppet) -> None:
    before = tokens()
    add("second")
    start = threading.Barrier(5)
    failures: list[BaseException] = []

    def begin() -> None:
        start.wait()
        try:
            check_names(service("analytics"))
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=begin) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert tokens() == {token + 1 for token in before}


def test_a_worker_that_begins_with_known_names_disturbs_nobody(old: Puppet) -> None:
    before = tokens()
    check_names(service("analytics"))

    write("inventory", restocked("a", 2))
    assert old.step() == 1
    assert tokens() == before


def test_once_the_name_is_retired_the_old_worker_takes_part_again(old: Puppet) -> None:
    stored("analytics.second")
    assert old.hold() == set()

    retire("analytics.second")

    old.hold()
    assert old.hold() == ALL


def test_a_worker_that_holds_nothing_is_not_counted_by_those_who_share(
    old: Puppet, puppet: Puppets
) -> None:
    new = deploy(puppet)
    for worker in (old, new, old):
        worker.hold()

    assert new.hold() == ALL


def spoil(columns: str) -> None:
    fetch("payments", f"UPDATE {{effect}} SET {columns} RETURNING 1")


def test_a_call_that_only_new_code_can_make_is_left_to_it(
    caller: Callable[[str], Caller],
) -> None:
    # given
    pay("o1")
    spoil("handler = 'payments.newer'")
    stored("payments.newer")
    # when
    old = caller("old")
    old.effects.step(old.conn)
    # then it is neither given up nor counted, and due again in a moment
    assert not old.effects.in_flight
    waiting = "SELECT attempts, claims, token, due_at > messaging_now() FROM {effect}"
    assert fetch("payments", waiting) == [(0, 0, None, True)]
    assert fetch("payments", "SELECT count(*) FROM {dead}") == [(0,)]


def test_control_a_call_that_nobody_knows_is_a_dead_letter(
    caller: Callable[[str], Caller],
) -> None:
    pay("o1")
    spoil("handler = 'payments.newer'")

    caller("old").perform()

    assert fetch("payments", "SELECT reason FROM {dead}") == [("unwired",)]


def test_old_code_copies_nothing_for_a_service_that_has_new_handlers(
    elsewhere: Elsewhere, puppet: Puppets, connection: Callable[[], Connection]
) -> None:
    # given
    add("first")
    elsewhere.move("analytics")
    worker = puppet("analytics")
    known = worker.drain.names["inbox"]
    relay = Relay(service("inventory"), worker.service, connection(), worker.conn, known)
    write("inventory", restocked("a", 1))
    assert relay.copy() == 1
    # when
    stored("analytics.second")
    write("inventory", restocked("a", 2))
    # then what the new handler may want stays ahead of the cursor
    before = fetch("analytics", "SELECT position FROM {relay}")
    assert relay.copy() == 0
    assert fetch("analytics", "SELECT position FROM {relay}") == before
    worker.conn.execute("DELETE FROM analytics_handler")
    assert relay.copy() == 1


def test_storing_a_name_waits_for_a_copy_under_way(
    elsewhere: Elsewhere, puppet: Puppets, connection: Callable[[], Connection]
) -> None:
    elsewhere.move("analytics")
    worker = puppet("analytics")
    worker.conn.execute("INSERT INTO analytics_relay VALUES ('inventory', 0)")
    finished = threading.Event()

    def store() -> None:
        stored("analytics.second")
        finished.set()

    storing = threading.Thread(target=store)
    with worker.conn.transaction():
        worker.conn.execute("SELECT FROM analytics_relay FOR UPDATE")
        storing.start()
        storing.join(0.2)
        assert not finished.is_set()
    storing.join()

    assert finished.is_set()
    assert "analytics.second" not in {handler.name for handler in handlers("analytics")}
