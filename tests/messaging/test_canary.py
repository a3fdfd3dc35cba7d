"""The canary answers when messages arrive, and only then: log, partition, handler and commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ecommerce.messaging import canary, due, registry, schedules
from ecommerce.messaging.database import Connection
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.pulse import pulse
from ecommerce.messaging.registry import handles
from ecommerce.messaging.services import service, services
from ecommerce.messaging.worker import Worker
from inventory.contracts import InventoryRestocked
from tests.messaging.conftest import Clock
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import restocked
from tests.messaging.steps import Puppet, fetch, in_service, until, write

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("canaries"),
]

Connect = Callable[[], Connection]
ANALYTICS = service("analytics")


def begin(conn: Connection) -> None:
    schedules.enter(conn, ANALYTICS.label, ANALYTICS.tables)
    canary.begin(conn, ANALYTICS)


def sweep(conn: Connection) -> int:
    return due.sweep(conn, schedules.sweeps(ANALYTICS.label, ANALYTICS.tables))


def answers() -> Any:
    return fetch("analytics", "SELECT asked_at, answered_at, took_us FROM {canary}")


def pings() -> int:
    query = "SELECT count(*) FROM {log} WHERE name = 'analytics.Pinged'"
    return fetch("analytics", query)[0][0]  # type: ignore[no-any-return]


def test_a_ping_goes_through_log_partition_handler_and_commit(
    connection: Connect, puppet: Callable[..., Puppet], clock: Clock
) -> None:
    conn = connection()
    begin(conn)

    assert sweep(conn) == 1
    ((asked_at, answered_at, _),) = answers()
    assert (asked_at is not None, answered_at) == (True, None)
    clock.advance(2)
    puppet("analytics").work()

    ((asked_at, answered_at, took_us),) = answers()
    assert answered_at - asked_at == timedelta(microseconds=took_us)
    assert 2_000_000 <= took_us < 20_000_000
    delivered = fetch("analytics", "SELECT handler, outcome FROM {delivery}")
    assert delivered == [("analytics.answer_ping", "done")]


def test_a_ping_is_sent_when_a_worker_begins_and_then_every_minute(
    connection: Connect, puppet: Callable[..., Puppet], clock: Clock
) -> None:
    conn, worker = connection(), puppet("analytics")
    begin(conn)
    assert sweep(conn) == 1

    for _ in range(3):
        clock.advance(60)
        assert sweep(conn) == 1
        worker.work()

    age = pulse(ANALYTICS).canary_age
    assert age is not None
    assert age < 20


def test_workers_that_begin_one_after_another_send_no_ping_each(
    connection: Connect, clock: Clock
) -> None:
    conn = connection()
    for _ in range(5):
        begin(conn)
        sweep(conn)

    assert pings() in (1, 2)  # two when a full minute passed meanwhile


@pytest.mark.parametrize("broken", ["nobody reads", "the handler fails", "the row is refused"])
def test_whatever_is_broken_on_the_way_the_answer_stays_away(
    connection: Connect, puppet: Callable[..., Puppet], clock: Clock, broken: str
) -> None:
    conn, worker = connection(), puppet("analytics")
    begin(conn)
    sweep(conn)
    worker.work()
    if broken == "the handler fails":
        fail_to_answer()
        worker.release()
        worker = puppet("analytics")  # a worker knows the handlers that there were when it began
    elif broken == "the row is refused":
        conn.execute("ALTER TABLE analytics_canary ADD CHECK (took_us = 0) NOT VALID")

    try:
        for _ in range(4):
            clock.advance(60)
            sweep(conn)
            if broken != "nobody reads":
                worker.work()
        found = pulse(ANALYTICS)
    finally:
        conn.execute(
            "ALTER TABLE analytics_canary DROP CONSTRAINT IF EXISTS analytics_canary_took_us_check"
        )

    assert found.canary_age is not None
    assert found.canary_age >= 240


def fail_to_answer() -> None:
    answer = registry._handlers.pop("analytics.answer_ping")
    (pinged,) = answer.message_types
    registry._by_message[pinged] = []

    def answer_ping(event: Any) -> None:
        raise ZeroDivisionError

    answer_ping.__annotations__["event"] = pinged
    handles(in_service("analytics")(answer_ping))


def test_control_a_message_of_another_kind_says_nothing_of_the_canary(
    connection: Connect, puppet: Callable[..., Puppet], clock: Clock
) -> None:
    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> None: ...

    begin(connection())
    write("inventory", restocked("mouse", 1))
    clock.advance(200)
    puppet("analytics").work()

    found = pulse(ANALYTICS)
    assert (found.canary_took, found.oldest_waiting) == (None, 0.0)
    assert found.canary_age is not None
    assert found.canary_age >= 200


def test_a_worker_has_all_its_services_answer() -> None:
    worker = Worker()
    for each in worker.lanes:
        each._sweeping.seconds = 0.05
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(lambda: all(pulse(each).canary_took is not None for each in services()))
    finally:
        worker.stop()
        thread.join()

    assert all(pulse(each).workers for each in services())


def test_a_service_in_another_database_answers_there(elsewhere: Elsewhere) -> None:
    elsewhere.move("analytics")
    there = Lane(ANALYTICS.database, [ANALYTICS], "worker", {})
    there._sweeping.seconds = 0

    def answered() -> bool:
        there.step()
        return any(answered_at for _, answered_at, _ in answers())

    until(answered)
    there.sign_off()
    assert pings() == 1
