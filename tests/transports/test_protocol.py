"""Whatever a broker does to batches and receipts, the inbox gets every message once and in order.

Here the test is the broker. `test_conformance` runs the real ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest

from ecommerce.messaging import ages, backlogs, database, relay, sender, transports
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.database import connection as pooled
from ecommerce.messaging.errors import ContractError, WiringError
from ecommerce.messaging.services import service
from ecommerce.messaging.transports import Batch, Receipt, take
from tests.messaging.conftest import Clock
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import restocked
from tests.messaging.steps import (
    Altered,
    fetch,
    until,
    without_constraint,
    write,
)
from tests.transports.carrier import Carrier, Task
from tests.transports.shop import arrived, confirmed, create, reached

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NAMES = [f"p{number:03}" for number in range(100)]
NO_REPEAT = "ON CONFLICT (message_id) DO NOTHING"


def in_pieces(carrier: Carrier, *pieces: list[str]) -> list[Task]:
    """Batches that follow each other, none of them received yet."""
    tasks = []
    for names in pieces:
        create(*names)
        (task,) = carrier.send()
        tasks.append(task)
        # The sender believes that it was received, so that the next one follows it.
        answer = transports.Receipt("inventory", "analytics", up_to(task), "next")
        carrier.carry(Task(transports.CONFIRM, "inventory", msgspec.json.encode(answer).decode()))
    return tasks


def up_to(task: Task) -> int:
    return msgspec.json.decode(task.body, type=Batch).up_to


# The way there


def test_what_a_service_wants_of_another_database_arrives_in_order(carrier: Carrier) -> None:
    create(*NAMES)
    write("inventory", restocked("p000", 5))

    carrier.settle()

    assert arrived() == NAMES
    assert reached() == confirmed()


def test_one_batch_is_under_way_at_a_time(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH", 40)
    create(*NAMES)

    (first,) = carrier.send()
    assert carrier.send() == []
    carrier.carry(first)
    assert arrived() == NAMES[:40]
    (second,) = carrier.send()
    assert carrier.send() == []
    carrier.carry(second)
    carrier.settle()

    assert arrived() == NAMES


def test_a_batch_is_bounded_in_bytes_but_never_empty(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("a", "b", "c")
    monkeypatch.setattr(sender, "BATCH_BYTES", 1)

    for expected in (["a"], ["a", "b"], ["a", "b", "c"]):
        carrier.carry(*carrier.send())
        assert arrived() == expected


def test_a_target_is_told_seldom_that_there_is_nothing_for_it(carrier: Carrier) -> None:
    create("a")
    carrier.settle()
    write("inventory", restocked("a", 1))

    assert carrier.send() == []
    create("b")
    carrier.settle()

    assert arrived() == ["a", "b"]
    assert reached() == confirmed()


@pytest.fixture
def follower(carrier: Carrier) -> Iterator[Carrier]:
    """Another worker's sender of the same source."""
    made = Carrier("inventory", "follower")
    yield made
    made.worker.conn.close()


def follow(carrier: Carrier, follower: Carrier) -> None:
    """The first worker's leases pass to the other, which knows nothing of what was sent."""
    with connect("default") as conn:
        conn.execute("UPDATE inventory_partition SET expires_at = messaging_now()")
        conn.execute("DELETE FROM inventory_worker WHERE name = 'sender'")
    follower.worker.hold()
    sender._flights.clear()


def test_the_holder_of_the_first_partition_sends_and_then_its_follower(
    carrier: Carrier, follower: Carrier
) -> None:
    create("a")
    assert follower.send() == []

    follow(carrier, follower)
    follower.settle()

    assert arrived() == ["a"]


def test_one_that_does_not_know_that_it_was_followed_does_no_harm(
    carrier: Carrier, follower: Carrier
) -> None:
    create("a")
    late = carrier.send()
    follow(carrier, follower)
    create("b")

    carrier.carry(*follower.send(), *late, *carrier.send())

    assert arrived() == ["a", "b"]


# What a broker does


def test_a_duplicate_changes_nothing(carrier: Carrier) -> None:
    create(*NAMES)
    sent = carrier.send()

    carrier.carry(*sent, *sent, *sent)

    assert arrived() == NAMES


def test_a_batch_that_comes_before_its_predecessor_is_dropped_and_comes_again(
    carrier: Carrier,
) -> None:
    first, second, third = in_pieces(carrier, ["a"], ["b"], ["c"])

    carrier.carry(third, second)
    assert arrived() == []
    carrier.carry(first)
    carrier.lose_patience()
    carrier.settle()

    assert arrived() == ["a", "b", "c"]


def test_a_delayed_batch_meets_what_was_sent_in_its_place(carrier: Carrier) -> None:
    create("a")
    delayed = carrier.send()
    create("b")
    carrier.lose_patience()
    carrier.settle()
    assert arrived() == ["a", "b"]

    carrier.carry(*delayed)

    assert arrived() == ["a", "b"]


def test_of_batches_that_overlap_only_what_is_new_is_stored(carrier: Carrier) -> None:
    create("a")
    short = carrier.send()
    create("b")
    carrier.lose_patience()
    long = carrier.send()

    carrier.carry(*short, *long)

    assert arrived() == ["a", "b"]
    assert reached() == confirmed()


def test_a_lost_batch_is_sent_again_but_not_at_once(carrier: Carrier) -> None:
    create(*NAMES)
    carrier.send()

    assert carrier.send() == []
    carrier.lose_patience()
    carrier.settle()

    assert arrived() == NAMES


def test_pauses_between_attempts_grow_up_to_a_limit(carrier: Carrier) -> None:
    create("a")
    pauses = []
    for _ in range(8):
        assert carrier.send()
        (flight,) = sender._flights.values()
        pauses.append(next(s for s in range(1, 100) if not still_waits(flight, s)))
        carrier.lose_patience()

    assert pauses == [3, 3, 3, 6, 12, 24, 30, 30]


def still_waits(flight: sender.Flight, seconds: float) -> bool:
    later = sender.Flight(flight.begin, flight.searched, flight.times, flight.sent_at - seconds)
    return later.waits()


def test_a_lost_receipt_is_made_up_for_by_a_duplicate(carrier: Carrier) -> None:
    create(*NAMES)
    (batch,) = carrier.send()
    batch.run()
    assert (arrived(), confirmed()) == (NAMES, 0)

    carrier.lose_patience()
    carrier.settle()

    assert arrived() == NAMES
    assert confirmed() == reached()


def after_a_late_receipt(carrier: Carrier) -> list[str]:
    """A receipt comes after that of a later batch; what the sender sends next, when there is `c`."""
    create("a")
    (first,) = carrier.send()
    first.run()
    late = carrier.waiting[:]
    carrier.lose_patience()
    carrier.settle()
    create("b")
    carrier.settle()
    assert confirmed() == reached()

    carrier.carry(*late)
    carrier.lose_patience()
    create("c")
    return [message.stream for message in batch_of(carrier).messages]


def test_a_late_receipt_does_not_take_the_sender_back(carrier: Carrier) -> None:
    assert after_a_late_receipt(carrier) == ["product/c"]


def test_an_inbox_that_was_restored_to_an_earlier_day_gets_the_rest_again(
    carrier: Carrier,
) -> None:
    create("a", "b")
    carrier.settle()
    with connect("elsewhere") as conn:
        conn.execute("DELETE FROM analytics_inbox WHERE stream = 'product/b'")
        conn.execute("UPDATE analytics_relay SET position = position - 1")
    create("c")

    carrier.settle()

    assert arrived() == ["a", "b", "c"]


def test_while_the_broker_is_away_messages_wait_in_the_log(carrier: Carrier) -> None:
    carrier.away = True
    create(*NAMES)
    assert carrier.send() == []
    assert arrived() == []

    carrier.away = False
    carrier.settle()

    assert arrived() == NAMES


def behind() -> dict[tuple[str, str], float]:
    """Sources and targets between which something waits, and for how many seconds."""
    backlogs.forget()
    return {
        (source, each.service): age
        for each in backlogs.backlogs()
        for source, age in each.unrelayed.items()
        if age > 0
    }


def test_while_the_broker_is_away_it_is_told_which_service_is_behind_and_for_how_long(
    carrier: Carrier, clock: Clock
) -> None:
    write("inventory", restocked("x", 1))
    carrier.settle()
    assert behind() == {}

    carrier.away = True
    create("a")
    carrier.send()
    clock.advance(600)
    ((who, seconds),) = behind().items()
    assert who == ("inventory", "analytics")
    assert 600 <= seconds < 660

    carrier.away = False
    carrier.lose_patience()
    carrier.settle()
    assert behind() == {}


def test_what_waited_for_a_database_is_told_once_that_is_back(
    carrier: Carrier, elsewhere: Elsewhere, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "TIMEOUT", 0.5)
    create("a")
    clock.advance(600)

    with elsewhere.down():
        database.close_pools()
        assert behind() == {}
        assert "analytics" not in {each.service for each in backlogs.backlogs()}
    database.close_pools()
    assert behind().keys() == {("inventory", "analytics")}

    carrier.settle()
    assert behind() == {}


@pytest.mark.parametrize(("unwanted", "late"), [(4, False), (5, True)])
def test_what_lies_behind_a_stretch_that_nobody_wants_is_not_taken_for_relayed(
    unwanted: int, late: bool, carrier: Carrier, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ages, "STRETCH", 5)
    source, target = service("inventory"), service("analytics")
    write("inventory", *(restocked("x", number) for number in range(unwanted)))
    clock.advance(600)

    assert (ages.oldest_unrelayed(source, target) >= 600) == late


def test_a_sender_that_fails_goes_on(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "RECONNECT_SECONDS", 0.05)
    faults = [ValueError("a bug"), TimeoutError("too late"), psycopg.OperationalError("lost")]
    step: Callable[..., int] = sender.Sender.step

    def fail_at_first(each: sender.Sender, conn: Connection) -> int:
        if faults:
            raise faults.pop()
        return step(each, conn)

    monkeypatch.setattr(sender.Sender, "step", fail_at_first)
    create("a")
    stopping = threading.Event()
    thread = sender.SenderThread([carrier.worker.drain], "sender", stopping)
    thread.start()
    try:
        until(lambda: carrier.waiting)
    finally:
        stopping.set()
        thread.woken.set()
        thread.join()
    carrier.carry(*carrier.waiting[:])

    assert faults == []
    assert arrived() == ["a"]


def test_a_broker_that_goes_away_before_the_receipt_costs_nothing(carrier: Carrier) -> None:
    create("a")
    (batch,) = carrier.send()
    carrier.away = True
    batch.run()

    carrier.away = False
    carrier.lose_patience()
    carrier.settle()

    assert arrived() == ["a"]
    assert confirmed() == reached()


def test_copying_directly_goes_on_where_the_broker_stopped_and_the_reverse(
    carrier: Carrier, connection: Callable[[], Connection]
) -> None:
    names = ["inventory.ProductCreated"]
    with connect("elsewhere") as inbox:
        direct = relay.Relay(service("inventory"), service("analytics"), connection(), inbox, names)
        create("a")
        carrier.settle()
        create("b")
        stale = carrier.send()
        direct.copy()
        carrier.carry(*stale)
        create("c")
        carrier.settle()
        direct.copy()

    assert arrived() == ["a", "b", "c"]


def test_another_source_is_not_held_up(carrier: Carrier) -> None:
    create("a")
    carrier.send()
    orders = Carrier("orders")
    write("orders", restocked("x", 1))
    carrier.carry(*orders.send())
    orders.worker.conn.close()

    assert reached("orders") > 0
    assert arrived() == []


@contextmanager
def ids_may_repeat() -> Iterator[None]:
    with (
        connect("elsewhere") as conn,
        without_constraint(conn, "analytics_inbox", "analytics_received_once"),
    ):
        yield


# Two at once


class Held(Altered):
    """A connection that stops before it stores messages, until it is let go."""

    def __init__(self, conn: Connection, replacements: dict[str, str]) -> None:
        super().__init__(conn, replacements)
        self.there, self.go = threading.Event(), threading.Event()

    def execute(self, query: str, *args: Any, **options: Any) -> Any:
        if 'INSERT INTO "analytics_inbox"' in query:
            self.there.set()
            assert self.go.wait(20)
        return super().execute(query, *args, **options)


@pytest.fixture
def receivers(carrier: Carrier) -> Iterator[list[Connection]]:
    conns = [connect("elsewhere") for _ in range(2)]
    yield conns
    for conn in conns:
        conn.close()


def batch_of(carrier: Carrier) -> Batch:
    (task,) = carrier.send()
    return msgspec.json.decode(task.body, type=Batch)


def at_once(
    batch: Batch, receivers: list[Connection], replacements: dict[str, str]
) -> list[Receipt | None]:
    """One takes a batch while another is in the middle of taking it."""
    target = service("analytics")
    first, second = (Held(conn, replacements) for conn in receivers)
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(take, first, target, batch)]  # type: ignore[arg-type]
        assert first.there.wait(20)
        taken.append(pool.submit(take, second, target, batch))  # type: ignore[arg-type]
        until(lambda: taken[1].done() or second.there.is_set())
        first.go.set()
        second.go.set()
        return [each.result() for each in taken]


def test_of_two_who_receive_the_same_batch_one_stores_it_and_none_waits(
    carrier: Carrier, receivers: list[Connection]
) -> None:
    create(*NAMES)

    receipts = at_once(batch_of(carrier), receivers, {})

    assert arrived() == NAMES
    assert receipts == [Receipt("inventory", "analytics", reached(), "next"), None]


def test_control_without_the_row_lock_both_store_it(
    carrier: Carrier, receivers: list[Connection]
) -> None:
    create("a")
    batch = batch_of(carrier)
    careless = {"FOR UPDATE SKIP LOCKED": "", NO_REPEAT: ""}
    with ids_may_repeat():
        at_once(batch, receivers, careless)
        assert arrived() == ["a", "a"]


# Controls


def take_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "fit", lambda batch, reached: "next")


def test_control_without_the_cursor_batches_are_stored_in_the_order_they_come(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_anything(monkeypatch)
    first, second = in_pieces(carrier, ["a"], ["b"])

    carrier.carry(second, first)

    assert arrived() != ["a", "b"]


def test_control_without_the_cursor_a_lost_batch_is_lost(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_anything(monkeypatch)
    _, second = in_pieces(carrier, ["a"], ["b"])

    carrier.carry(second)
    carrier.lose_patience()
    carrier.settle()

    assert arrived() == ["b"]


def test_control_where_positions_may_go_back_a_late_receipt_has_more_sent_again(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = "greatest(r.position, excluded.position)"

    @contextmanager
    def careless(alias: str) -> Iterator[Altered]:
        with pooled(alias) as conn:
            yield Altered(conn, {later: "excluded.position"})

    monkeypatch.setattr(transports, "connection", careless)

    assert after_a_late_receipt(carrier) == ["product/b", "product/c"]


def forgetful(carrier: Carrier, *, careless: bool = False) -> None:
    """Receive a batch, forget how far the inbox came, and receive the batch again."""
    create("a")
    batch = batch_of(carrier)
    with connect("elsewhere") as conn:
        altered = Altered(conn, {NO_REPEAT: ""} if careless else {})
        for _ in range(2):
            take(altered, service("analytics"), batch)  # type: ignore[arg-type]
            conn.execute("UPDATE analytics_relay SET position = 0")


def test_a_message_that_an_inbox_has_is_not_stored_again_whatever_the_cursor_says(
    carrier: Carrier,
) -> None:
    forgetful(carrier)
    assert arrived() == ["a"]


def test_control_without_the_unique_id_it_is_stored_twice(carrier: Carrier) -> None:
    with ids_may_repeat():
        forgetful(carrier, careless=True)
        assert arrived() == ["a", "a"]


# What is no batch


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '{"source": "inventory"}',
        '{"source":"inventory","target":"analytics","after":5,"up_to":3,"messages":[]}',
    ],
)
def test_what_is_no_batch_is_refused_without_quoting_it(carrier: Carrier, body: str) -> None:
    with pytest.raises(ContractError, match="no Batch"):
        transports.receive(body)


def test_a_batch_with_a_hole_in_its_order_is_refused(carrier: Carrier) -> None:
    create("a", "b")
    batch = msgspec.json.decode(carrier.send()[0].body)
    batch["messages"].reverse()

    with pytest.raises(ContractError, match="do not ascend"):
        transports.receive(msgspec.json.encode(batch).decode())
    assert arrived() == []


def test_a_batch_for_a_service_that_is_not_here_is_refused(carrier: Carrier) -> None:
    create("a")
    body = carrier.send()[0].body.replace('"analytics"', '"analysis"')

    with pytest.raises(WiringError, match="no service is called 'analysis'"):
        transports.receive(body)


def test_a_message_of_an_unknown_version_is_received_like_any_other(carrier: Carrier) -> None:
    create("a", "b", "c")
    batch = msgspec.json.decode(carrier.send()[0].body)
    batch["messages"][1]["contract"] = 99
    carrier.carry(Task(transports.RECEIVE, "analytics", msgspec.json.encode(batch).decode()))

    rows = fetch("analytics", 'SELECT stream, contract FROM "{inbox}" ORDER BY position')
    assert rows == [("product/a", 1), ("product/b", 99), ("product/c", 1)]
