"""A log is an event store: streams with versions, one order of all events, and nobody is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count, islice

import pytest

from customers.models import OrderSummary
from ecommerce.messaging import events
from ecommerce.messaging.database import Connection
from ecommerce.messaging.errors import VersionConflict, WiringError
from ecommerce.messaging.events import LogHeld, Wanted, append, follow, newest, read, read_stream
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.trace import trace
from orders.contracts import OrderPaid, OrderReserved
from tests.messaging import steps
from tests.messaging.examples import reserve, restocked
from tests.messaging.ordering import settle
from tests.messaging.steps import fetch, replaced_function, until, without_constraint

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Connect = Callable[[], Connection]
WRITERS = 8
LONG_AGO = Wanted(since=datetime(2020, 1, 1, tzinfo=UTC))
NO_CHECK = """
    CREATE OR REPLACE FUNCTION messaging_require(held boolean, what text) RETURNS void
    LANGUAGE plpgsql AS $$ BEGIN END $$"""

WAITING = """
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""


def reserved(order_id: str = "o1") -> OrderReserved:
    return OrderReserved(order_id=order_id)


def put(*found: OrderReserved | OrderPaid, expected: int) -> int:
    return append(found, expected=expected, tenant="main", actor="test")


def versions(order_id: str = "o1", tenant: str = "main") -> list[int]:
    return [event.version for event in read_stream("orders", tenant, f"order/{order_id}")]


def test_events_are_appended_where_their_writer_expects() -> None:
    assert put(reserved(), expected=0) == 1
    paid = OrderPaid(order_id="o1", payment_id="p1")
    assert put(paid, reserved(), expected=1) == 3

    first, second, third = read_stream("orders", "main", "order/o1")
    assert [first.version, second.version, third.version] == [1, 2, 3]
    assert (second.message(), second.actor, second.tenant) == (paid, "test", "main")
    assert first.position < second.position < third.position


@pytest.mark.parametrize("expected", [0, 1, 3, 7])
def test_another_version_than_expected_is_refused_and_nothing_is_stored(expected: int) -> None:
    put(reserved(), reserved(), expected=0)

    with pytest.raises(VersionConflict, match=rf"order/o1 has version 2, not {expected}: read"):
        put(reserved(), expected=expected)

    assert versions() == [1, 2]


def test_appended_events_are_traced_and_delivered_like_others() -> None:
    correlation = uuid7()
    events_of = [reserved(), OrderPaid(order_id="o1", payment_id="p1")]
    append(events_of, expected=0, tenant="main", actor="user:7", correlation_id=correlation)

    first, second = trace("main", "order/o1")
    assert [first.name, second.name] == ["orders.OrderReserved", "orders.OrderPaid"]
    assert first.actor == "user:7"
    assert {event.correlation_id for event in read("orders")} == {correlation}
    settle()
    assert OrderSummary.objects.get().status == "Paid"


def race(order_id: str) -> list[int | VersionConflict]:
    """Many writers append to one stream at once, all of whom have read the same version."""
    together = threading.Barrier(WRITERS)

    def write(number: int) -> int | VersionConflict:
        together.wait()
        try:
            return put(OrderPaid(order_id=order_id, payment_id=str(number)), expected=1)
        except VersionConflict as conflict:
            return conflict

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, range(WRITERS)))


def test_of_many_writers_who_expect_the_same_version_one_wins() -> None:
    for order_id in map(str, range(10)):
        put(reserved(order_id), expected=0)

        answers = race(order_id)

        conflicts = [answer for answer in answers if isinstance(answer, VersionConflict)]
        assert [answer for answer in answers if isinstance(answer, int)] == [2]
        assert [conflict.extra for conflict in conflicts] == [{"version": 2}] * (WRITERS - 1)
        assert versions(order_id) == [1, 2]


def beside_an_open_writer(conn: Connection) -> list[int | VersionConflict]:
    """Append where another transaction has appended the same version, and commits a moment later."""
    put(reserved(), expected=0)
    answers: list[int | VersionConflict] = []

    def write() -> None:
        try:
            answers.append(put(reserved(), expected=1))
        except VersionConflict as conflict:
            answers.append(conflict)

    with conn.transaction():
        steps.append(conn, "orders", reserved())
        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: answers or fetch("orders", WAITING))
    writer.join(20)
    return answers


def test_a_writer_that_has_not_committed_is_waited_for(connection: Connect) -> None:
    (conflict,) = beside_an_open_writer(connection())

    assert isinstance(conflict, VersionConflict)
    assert versions() == [1, 2]


def test_control_without_the_unique_version_both_get_it(connection: Connect) -> None:
    with without_constraint(connection(), "orders_log", "orders_one_event_per_version"):
        assert beside_an_open_writer(connection()) == [2]
        assert versions() == [1, 2, 2]


def test_control_without_the_check_a_writer_who_knows_too_little_appends(
    connection: Connect,
) -> None:
    with replaced_function(connection(), "messaging_require", NO_CHECK):
        put(reserved(), reserved(), expected=0)
        assert put(reserved(), expected=0) == 1
        assert versions() == [1, 2, 3]


def test_events_of_two_streams_and_commands_are_not_appended() -> None:
    for mixed in ([reserved("o1"), reserved("o2")], [reserve("o1")], []):
        with pytest.raises(WiringError, match="events of one stream"):
            append(mixed, expected=0, tenant="main", actor="test")

    assert fetch("orders", 'SELECT count(*) FROM "{log}"') == [(0,)]


def test_a_stream_is_read_from_one_version_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FETCHED", 3)
    put(*[reserved()] * 10, expected=0)
    append([reserved()], expected=0, tenant="other", actor="test")

    def found(**bounds: int) -> list[int]:
        return [e.version for e in read_stream("orders", "main", "order/o1", **bounds)]

    assert found() == [*range(1, 11)]
    assert found(first=4) == [*range(4, 11)]
    assert found(first=4, last=8) == [4, 5, 6, 7, 8]
    assert found(first=11) == []
    assert versions(tenant="other") == [1]
    assert versions("o2") == []


def test_a_whole_log_is_read_in_order_without_its_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "FETCHED", 3)
    for number in range(5):
        steps.write("orders", reserved(str(number)), reserve(str(number)), reserved(str(number)))

    found = list(read("orders"))

    assert [event.stream[-1] for event in found] == [*"0011223344"]
    assert [event.version for event in found] == [1, 2] * 5
    assert [event.position for event in read("orders", after=found[6].position)] == [
        event.position for event in found[7:]
    ]


def test_a_reading_stops_before_an_open_writer_and_loses_nothing(connection: Connect) -> None:
    early, late = connection(), connection()
    put(reserved("before"), expected=0)
    early.execute("BEGIN")
    steps.append(early, "orders", reserved("early"))
    with late.transaction():
        steps.append(late, "orders", reserved("late"))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: [event.stream for event in read("orders")])
        until(lambda: fetch("orders", WAITING))
        assert not reading.done()
        early.execute("COMMIT")
        assert reading.result(20) == ["order/before", "order/early", "order/late"]


def test_a_writer_that_stays_is_named(connection: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 0.1)
    put(reserved("before"), expected=0)
    stuck = connection()
    stuck.execute("BEGIN")
    steps.append(stuck, "orders", reserved())

    with pytest.raises(LogHeld, match="a writer has held orders_log"):
        list(read("orders"))


def test_an_empty_log_has_no_events() -> None:
    assert list(read("orders")) == []
    assert newest("orders", Wanted(), 10) == []


def test_events_are_wanted_by_what_they_are_and_when() -> None:
    began = datetime.now(UTC)
    put(reserved("o1"), expected=0)
    put(OrderPaid(order_id="o1", payment_id="p"), expected=1)
    append([reserved("o1")], expected=0, tenant="other", actor="test")
    put(reserved("o2"), expected=0)
    middle = [event.recorded_at for event in read("orders")][1]

    def found(**wanted: str | datetime) -> list[str]:
        fit = read("orders", Wanted(**wanted))  # type: ignore[arg-type]
        return [f"{e.tenant} {e.stream[6:]}.{e.version}" for e in fit]

    assert found(tenant="main") == ["main o1.1", "main o1.2", "main o2.1"]
    assert found(stream="order/o1") == ["main o1.1", "main o1.2", "other o1.1"]
    assert found(name="orders.OrderPaid") == ["main o1.2"]
    assert found(since=middle, tenant="main") == ["main o1.2", "main o2.1"]
    assert found(until=middle) == ["main o1.1", "main o1.2"]
    assert found(since=began + timedelta(hours=1)) == []
    last = newest("orders", Wanted(tenant="main"), 2)
    assert [event.stream for event in last] == ["order/o1", "order/o2"]


def test_followers_see_events_in_order_while_writers_are_in_flight(connection: Connect) -> None:
    put(reserved("past"), expected=0)
    following = follow(["orders", "inventory"], LONG_AGO)
    assert next(following).stream == "order/past"
    numbers = 60

    def write(name: int) -> None:
        conn = connection()
        for number in range(numbers):
            with conn.transaction():
                steps.append(conn, "orders", OrderPaid(order_id=str(name), payment_id=str(number)))
        steps.write("inventory", restocked(f"p{name}", 1))

    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()
    got = list(islice(following, 4 * numbers + 4))
    for writer in writers:
        writer.join()

    positions = [event.position for event in got if event.source == "orders"]
    assert positions == sorted(positions)
    assert sum(event.source == "inventory" for event in got) == 4
    for name in range(4):
        paid = [event.message() for event in got if event.stream == f"order/{name}"]
        assert [p.payment_id for p in paid if isinstance(p, OrderPaid)] == [
            str(number) for number in range(numbers)
        ]


def test_followers_begin_now_unless_they_say_since_when() -> None:
    put(reserved("past"), expected=0)
    numbers = count()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, follow(["orders"]))
        until(lambda: put(reserved(str(next(numbers))), expected=0) and reading.done())

    assert reading.result().stream != "order/past"
