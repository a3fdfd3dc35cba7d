"""What a schedule sends is sent once for each time, whoever sweeps, and whatever stood still."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ecommerce.messaging import due, schedules
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.errors import WiringError
from ecommerce.messaging.invariants import checks_of, run
from ecommerce.messaging.messages import Message
from ecommerce.messaging.schedules import MOST_MISSED, Scheduled, enter, schedule
from ecommerce.messaging.services import service
from ecommerce.messaging.worker import Worker
from inventory.contracts import AdjustInventory
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.steps import (
    PATIENCE,
    Altered,
    fetch,
    is_blocked,
    kill,
    until,
    written,
)

Connect = Callable[[], Connection]
stored = pytest.mark.django_db(transaction=True, databases="__all__")
ANALYTICS = service("analytics").tables
NAME = "analytics.count"
EVERY_MINUTE = "* * * * *"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def count_at(at: datetime) -> Message:
    return AdjustInventory(product_id="mouse", change=at.minute, reason=at.isoformat())


def declare(rule: str = EVERY_MINUTE, name: str = NAME, **options: Any) -> None:
    schedules._schedules.pop(name, None)
    schedule(name, rule, message=count_at, **options)


def enter_all(conn: Connection) -> None:
    enter(conn, "analytics", ANALYTICS)


def sweep(conn: Connection) -> int:
    return due.sweep(conn, schedules.sweeps("analytics", ANALYTICS))


def sent() -> list[datetime]:
    """The times for which messages were sent."""
    found = [m for m in written("analytics") if isinstance(m, AdjustInventory)]
    return [datetime.fromisoformat(message.reason) for message in found]


def row() -> Any:
    ((rule, due_at, ran_at),) = fetch("analytics", "SELECT rule, due_at, ran_at FROM {schedule}")
    return rule, due_at, ran_at


def now() -> datetime:
    return fetch("analytics", "SELECT messaging_now()")[0][0]  # type: ignore[no-any-return]


@pytest.fixture
def clock(clock: Clock) -> Clock:
    """A clock that stands ten seconds after a full minute, so that no test meets the next one."""
    clock.advance((70 - now().second) % 60)
    return clock


# Times


def missed(
    misfire: Any, due_at: datetime, now: datetime, rule: str = EVERY_MINUTE
) -> list[datetime]:
    return Scheduled(NAME, rule, count_at, misfire).times(due_at, now)


@pytest.mark.parametrize("misfire", ["once", "skip", "all"])
def test_a_time_that_is_noticed_in_time_is_sent_whatever_becomes_of_missed_ones(
    misfire: str,
) -> None:
    assert missed(misfire, NOON, NOON) == [NOON]
    assert missed(misfire, NOON, NOON + timedelta(seconds=3)) == [NOON]


def test_of_missed_times_the_latest_is_sent_or_none_or_all() -> None:
    late = NOON + timedelta(minutes=10, seconds=2)
    every_five = (NOON, late, "*/5 * * * *")

    assert missed("once", *every_five) == [NOON + timedelta(minutes=10)]
    assert missed("all", *every_five) == [NOON + timedelta(minutes=n) for n in (0, 5, 10)]
    assert missed("skip", NOON, late, "0 * * * *") == []


def test_no_more_than_a_bounded_number_of_missed_times_are_sent_and_these_are_the_latest() -> None:
    times = missed("all", NOON, NOON + timedelta(days=30))

    assert len(times) == MOST_MISSED
    assert times[-1] == NOON + timedelta(days=30)
    assert times == sorted(times)


@pytest.mark.parametrize("rule", ["* * * *", "61 * * * *", "0 0 30 2 *", "often"])
def test_a_rule_without_a_next_time_is_refused(rule: str) -> None:
    with pytest.raises(WiringError, match=r"schedule analytics\.count: .* is no cron rule"):
        declare(rule)


def test_two_schedules_of_one_name_are_refused() -> None:
    declare()
    with pytest.raises(WiringError, match=r"two schedules are named analytics\.count"):
        schedule(NAME, EVERY_MINUTE, message=count_at)


def test_rules_are_read_in_utc() -> None:
    there = NOON.astimezone(datetime.strptime("+0530", "%z").tzinfo)

    after = Scheduled(NAME, "30 13 * * *", count_at).next_after(there)

    assert after == datetime(2026, 3, 1, 13, 30, tzinfo=UTC)


# Sending


@stored
def test_a_message_is_sent_at_each_time_and_not_before(connection: Connect, clock: Clock) -> None:
    conn = connection()
    declare()
    enter_all(conn)
    first = row()[1]

    clock.advance(45)
    assert sweep(conn) == 0
    clock.advance(10)
    assert (sweep(conn), sweep(conn)) == (1, 0)
    clock.advance(60)
    assert (sweep(conn), sweep(conn)) == (1, 0)

    assert sent() == [first, first + timedelta(minutes=1)]
    rule, due_at, ran_at = row()
    assert (rule, due_at) == (EVERY_MINUTE, first + timedelta(minutes=2))
    assert timedelta(0) <= now() - ran_at < timedelta(seconds=30)


@stored
def test_a_message_belongs_to_no_shop_and_says_which_schedule_sent_it(
    connection: Connect, clock: Clock
) -> None:
    conn = connection()
    declare()
    enter_all(conn)
    clock.advance(60)

    sweep(conn)

    assert fetch("analytics", "SELECT tenant, actor, cause_id IS NULL FROM {log}") == [
        ("-", "schedule:analytics.count", False)
    ]


@stored
def test_what_passed_while_no_worker_ran_is_sent_once_after_a_restart(
    connection: Connect, clock: Clock
) -> None:
    declare("*/10 * * * *")
    enter_all(connection())
    clock.advance(3600)

    restarted = connection()
    enter_all(restarted)
    assert (sweep(restarted), sweep(restarted)) == (1, 0)

    (time,) = sent()
    assert timedelta(0) <= now() - time < timedelta(minutes=10)
    assert row()[1] == time + timedelta(minutes=10)


@stored
def test_a_sweeper_that_dies_before_its_commit_leaves_the_time_to_the_next(
    connection: Connect, clock: Clock
) -> None:
    declare()
    enter_all(connection())
    clock.advance(60)
    dying, blocker = connection(), connection()

    with blocker.transaction(), ThreadPoolExecutor(1) as pool:
        blocker.execute("SELECT pg_advisory_xact_lock(messaging_log_key('analytics_log'))")
        swept = pool.submit(sweep, dying)
        until(lambda: is_blocked(dying))
        kill(dying)
        assert swept.exception() is not None
    assert sent() == []

    assert sweep(connection()) == 1
    assert len(sent()) == 1


def sweep_twice_at_once(connection: Connect, guards: dict[str, str]) -> int:
    """Two sweeps have begun before either can commit; return how many messages they sent."""
    blocker, conns = connection(), [connection(), connection()]
    with ThreadPoolExecutor(2) as pool:
        with blocker.transaction():
            blocker.execute("SELECT pg_advisory_xact_lock(messaging_log_key('analytics_log'))")
            first = pool.submit(sweep, Altered(conns[0], guards))  # type: ignore[arg-type]
            until(lambda: is_blocked(conns[0]))
            second = pool.submit(sweep, Altered(conns[1], guards))  # type: ignore[arg-type]
            until(lambda: second.done() or is_blocked(conns[1]))
        return first.result() + second.result()


@stored
def test_two_sweeps_at_once_send_a_message_once(connection: Connect, clock: Clock) -> None:
    declare()
    enter_all(connection())
    clock.advance(60)

    assert sweep_twice_at_once(connection, guards={}) == 1
    assert len(sent()) == 1


@stored
def test_control_without_the_row_lock_both_send_it(connection: Connect, clock: Clock) -> None:
    declare()
    enter_all(connection())
    clock.advance(60)

    assert sweep_twice_at_once(connection, guards={"FOR UPDATE SKIP LOCKED": ""}) == 2
    assert len(sent()) == 2


@stored
def test_many_sweepers_send_many_schedules_once_each(connection: Connect, clock: Clock) -> None:
    for number in range(5):
        declare(name=f"analytics.number_{number}")
    enter_all(connection())
    conns = [connection() for _ in range(6)]

    for _ in range(4):
        clock.advance(60)
        start = threading.Barrier(len(conns))

        def sweep_at_once(conn: Connection, start: threading.Barrier = start) -> int:
            start.wait(PATIENCE)
            return sweep(conn)

        with ThreadPoolExecutor(len(conns)) as pool:
            list(pool.map(sweep_at_once, conns))
        sweep(conns[0])  # those that were under another's lock when they were asked for

    assert sorted(sent()) == sorted([time for time in set(sent()) for _ in range(5)])
    assert len(sent()) == 20


@stored
def test_a_schedule_whose_code_fails_is_told_and_holds_up_no_other(
    connection: Connect, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(at: datetime) -> Message:
        raise ZeroDivisionError

    schedule("analytics.broken", EVERY_MINUTE, message=fail)
    schedule("analytics.event", EVERY_MINUTE, message=lambda _: restocked("mouse", 1))
    declare()
    enter_all(connection())
    clock.advance(60)

    assert sweep(connection()) == 1

    assert len(sent()) == 1
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert [text.partition(" cannot")[0] for text in told] == [
        "schedule analytics.broken",
        "schedule analytics.event",
    ]
    assert fetch(
        "analytics", "SELECT count(*) FROM {schedule} WHERE due_at <= messaging_now()"
    ) == [(0,)]


@stored
def test_the_audit_finds_a_schedule_that_nobody_sends(connection: Connect, clock: Clock) -> None:
    declare()
    enter_all(connection())
    (check,) = [c for c in checks_of(service("analytics")) if c.name.startswith("no schedule")]
    clock.advance(300)
    assert run(check).ok

    clock.advance(400)

    assert not run(check).ok
    assert sweep(connection()) == 1
    assert run(check).ok


# Changes of the code


@stored
def test_a_changed_rule_takes_effect_and_an_unchanged_one_keeps_its_time(
    connection: Connect, clock: Clock
) -> None:
    conn = connection()
    declare("0 0 1 1 *")
    enter_all(conn)
    before = row()
    enter_all(conn)
    assert row() == before

    declare(EVERY_MINUTE)
    enter_all(conn)

    rule, due_at, _ = row()
    assert rule == EVERY_MINUTE
    assert timedelta(0) < due_at - now() <= timedelta(minutes=1)


@stored
def test_a_worker_with_another_rule_than_the_row_leaves_it_to_those_who_have_it(
    connection: Connect, clock: Clock
) -> None:
    conn = connection()
    declare(EVERY_MINUTE)
    enter_all(conn)
    clock.advance(60)

    declare("0 0 1 1 *")  # the code of another version, which has not entered its rule
    assert sweep(conn) == 0
    declare(EVERY_MINUTE)
    assert sweep(conn) == 1


@stored
def test_the_row_of_a_removed_schedule_goes_once_nobody_sends_it(
    connection: Connect, clock: Clock
) -> None:
    conn = connection()
    declare()
    enter_all(conn)
    schedules._schedules.clear()

    clock.advance(60)
    sweep(conn)
    assert row()[0] == EVERY_MINUTE  # another version may have it still

    clock.advance(300)
    assert sweep(conn) == 0
    assert fetch("analytics", "SELECT name FROM {schedule}") == []
    assert sent() == []


# A whole worker


@stored
def test_a_worker_enters_and_sends_by_itself(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    declare()
    Worker(["analytics"]).drain(PATIENCE)
    assert row()[0] == EVERY_MINUTE
    clock.advance(60)

    Worker(["analytics"]).drain(PATIENCE)

    assert len(sent()) == 1
    with connect("default") as conn:
        assert sweep(conn) == 0
