"""What is due is sent once, whoever sweeps; a deadline that was moved in time does not pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from ecommerce.messaging.context import Context
from ecommerce.messaging.database import Connection
from ecommerce.messaging.deadlines import sweeps
from ecommerce.messaging.due import sweep
from ecommerce.messaging.registry import Later, handles
from ecommerce.messaging.services import service
from ecommerce.messaging.timers import send_due
from ecommerce.values import Money
from inventory.contracts import AdjustInventory, InventoryRestocked
from orders.contracts import ExpireOrder
from orders.models import Fulfilment
from payments.contracts import ChargeCard
from tests.messaging.calls import Caller
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.steps import (
    PATIENCE,
    Altered,
    Puppet,
    counts,
    fetch,
    in_service,
    is_blocked,
    kill,
    until,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Connect = Callable[[], Connection]
ANALYTICS = service("analytics").tables


def sent() -> list[int]:
    return [m.change for m in written("analytics") if isinstance(m, AdjustInventory)]


@pytest.fixture
def remind(puppet: Callable[..., Puppet]) -> Callable[..., None]:
    """Have messages sent so many seconds from now, by a handler that asks for it."""

    @handles
    @in_service("analytics")
    def remind(event: InventoryRestocked, context: Context) -> Later:
        at = context.now + timedelta(seconds=event.quantity)
        command = AdjustInventory(
            product_id=event.product_id, change=event.quantity, reason="later"
        )
        return Later(command, at)

    def ask(*seconds: int) -> None:
        write("inventory", *(restocked("a", number) for number in seconds))
        puppet("analytics").work()

    return ask


def test_a_timer_is_sent_when_it_is_due_and_not_before(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    conn = connection()
    remind(60, 30)

    clock.advance(29)
    assert send_due(conn, ANALYTICS) == 0
    clock.advance(2)
    assert send_due(conn, ANALYTICS) == 1
    clock.advance(30)
    assert send_due(conn, ANALYTICS) == 1

    assert sent() == [30, 60]
    assert counts("analytics")["timer"] == 0


def test_timers_that_are_due_together_are_sent_in_the_order_of_their_times(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    remind(30, 10, 20)
    clock.advance(60)

    send_due(connection(), ANALYTICS)

    assert sent() == [10, 20, 30]


def test_two_sweeps_at_once_send_each_timer_once(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    remind(*range(1, 201))
    clock.advance(300)
    start = threading.Barrier(2)

    def sweep_at_once(conn: Connection) -> int:
        start.wait(PATIENCE)
        return send_due(conn, ANALYTICS)

    with ThreadPoolExecutor(2) as pool:
        swept = list(pool.map(sweep_at_once, [connection(), connection()]))

    assert sum(swept) == 200
    assert sorted(sent()) == list(range(1, 201))


def test_a_sweep_does_not_wait_for_another_one(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    slow, quick = connection(), connection()
    remind(10, 20)
    clock.advance(60)

    with slow.transaction(force_rollback=True):
        slow.execute("SELECT FROM analytics_timer ORDER BY due_at LIMIT 1 FOR UPDATE")
        assert send_due(quick, ANALYTICS) == 1
    assert send_due(quick, ANALYTICS) == 1

    assert sent() == [20, 10]


def sweep_twice_at_once(connection: Connect, guards: dict[str, str]) -> int:
    """Two sweeps have begun before either can commit; return how many timers they sent."""
    blocker, conns = connection(), [connection(), connection()]

    def altered_sweep(conn: Connection) -> int:
        return send_due(Altered(conn, guards), ANALYTICS)  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:
        with blocker.transaction():
            blocker.execute("SELECT FROM analytics_timer FOR UPDATE")
            swept = [pool.submit(altered_sweep, conn) for conn in conns]
            until(lambda: all(s.done() or is_blocked(c) for s, c in zip(swept, conns, strict=True)))
        return sum(each.result() for each in swept) + send_due(blocker, ANALYTICS)


def test_sweeps_that_meet_send_a_timer_once_and_lose_none(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    remind(10)
    clock.advance(60)

    assert sweep_twice_at_once(connection, guards={}) == 1
    assert sent() == [10]


def test_control_without_the_deletion_in_the_same_commit_they_send_it_more_than_once(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    remind(10)
    clock.advance(60)
    kept = {
        'DELETE FROM "analytics_timer"': 'UPDATE "analytics_timer" SET id = id',
        "FOR UPDATE SKIP LOCKED": "",
    }

    assert sweep_twice_at_once(connection, guards=kept) == 3
    assert sent() == [10, 10, 10]


def test_a_sweeper_that_dies_before_its_commit_leaves_its_timers_to_the_next(
    remind: Callable[..., None], connection: Connect, clock: Clock
) -> None:
    dying, blocker = connection(), connection()
    remind(10, 20)
    clock.advance(60)

    with blocker.transaction(), ThreadPoolExecutor(1) as pool:
        blocker.execute("SELECT pg_advisory_xact_lock(messaging_log_key('analytics_log'))")
        swept = pool.submit(send_due, dying, ANALYTICS)
        until(lambda: is_blocked(dying))
        kill(dying)
        assert swept.exception() is not None
    assert sent() == []

    assert send_due(connection(), ANALYTICS) == 2
    assert sent() == [10, 20]


def test_an_effect_that_is_wanted_later_is_performed_when_it_is_due_and_not_before(
    puppet: Callable[..., Puppet], caller: Callable[[str], Caller], clock: Clock
) -> None:
    @handles
    @in_service("payments")
    def ask_later(event: InventoryRestocked, context: Context) -> Later:
        charge = ChargeCard(
            order_id="o1", attempt=1, key="k", amount=Money(1, "USD"), method="card_approved"
        )
        return Later(charge, context.now + timedelta(seconds=60))

    write("inventory", restocked("a", 1))
    puppet("payments").work()
    worker = caller("worker")

    clock.advance(50)
    assert worker.perform() == 0
    clock.advance(11)
    assert worker.perform() == 1
    assert worker.perform() == 0


def test_an_event_cannot_be_due_later(puppet: Callable[..., Puppet]) -> None:
    @handles
    @in_service("inventory")
    def foresee(event: InventoryRestocked, context: Context) -> Later:
        return Later(restocked("b", 1), context.now + timedelta(seconds=60))

    write("inventory", restocked("a", 1))
    puppet("inventory").work()

    ((error,),) = fetch("inventory", "SELECT error FROM {parked}")
    assert "an event states what happened; it cannot be due" in error
    assert counts("inventory")["timer"] == 0


# Deadlines


def pass_deadlines(conn: Connection) -> int:
    """Carry out the sweeps of orders, which has one deadline."""
    return sweep(conn, sweeps("orders", service("orders").tables))


def now() -> datetime:
    return fetch("orders", "SELECT messaging_now()")[0][0]  # type: ignore[no-any-return]


@pytest.fixture
def waiting(transactional_db: None) -> list[Fulfilment]:
    """Orders whose reservation must be answered within a minute."""
    rows = [
        Fulfilment(
            tenant="main", order_id=f"o{number}", step="reserving",
            deadline_at=now() + timedelta(seconds=60 + 10 * number),
        )
        for number in range(3)
    ]  # fmt: skip
    return Fulfilment.objects.bulk_create(rows)


def expired() -> list[str]:
    return [m.order_id for m in written("orders") if isinstance(m, ExpireOrder)]


def test_a_deadline_passes_once_and_its_column_is_emptied(
    waiting: list[Fulfilment], connection: Connect, clock: Clock
) -> None:
    conn = connection()
    assert pass_deadlines(conn) == 0
    clock.advance(90)

    assert pass_deadlines(conn) == 3
    assert pass_deadlines(conn) == 0

    assert expired() == ["o0", "o1", "o2"]
    deadlines = [m.deadline for m in written("orders") if isinstance(m, ExpireOrder)]
    assert deadlines == [row.deadline_at for row in waiting]
    assert not Fulfilment.objects.exclude(deadline_at=None).exists()


def test_two_sweeps_at_once_pass_each_deadline_once(
    waiting: list[Fulfilment], connection: Connect, clock: Clock
) -> None:
    clock.advance(90)
    start = threading.Barrier(2)

    def sweep_at_once(conn: Connection) -> int:
        start.wait(PATIENCE)
        return pass_deadlines(conn)

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(sweep_at_once, [connection(), connection()])) == 3
    assert sorted(expired()) == ["o0", "o1", "o2"]


def moved_just_before_the_sweep(connection: Connect, clock: Clock, guards: dict[str, str]) -> None:
    """A step moves its deadline, and has not committed when the sweep comes."""
    step, sweeper = connection(), connection()
    clock.advance(65)
    step.execute("BEGIN")
    move = "UPDATE orders_fulfilment SET deadline_at = messaging_now() + interval '1 hour'"
    step.execute(f"{move} WHERE order_id = 'o0'")

    def late_sweep() -> Any:
        return pass_deadlines(Altered(sweeper, guards))  # type: ignore[arg-type]

    with ThreadPoolExecutor(1) as pool:
        swept = pool.submit(late_sweep)
        until(lambda: swept.done() or is_blocked(sweeper))
        step.execute("COMMIT")
        swept.result()
    pass_deadlines(sweeper)


def test_a_deadline_that_is_moved_just_before_the_sweep_does_not_pass(
    waiting: list[Fulfilment], connection: Connect, clock: Clock
) -> None:
    moved_just_before_the_sweep(connection, clock, guards={})

    assert expired() == []
    moved = Fulfilment.objects.get(order_id="o0").deadline_at
    assert moved is not None
    assert moved > now()


def test_control_without_the_row_lock_it_passes_and_the_new_one_is_lost(
    waiting: list[Fulfilment], connection: Connect, clock: Clock
) -> None:
    moved_just_before_the_sweep(connection, clock, guards={"FOR UPDATE SKIP LOCKED": ""})

    assert expired() == ["o0"]
    assert Fulfilment.objects.get(order_id="o0").deadline_at is None
