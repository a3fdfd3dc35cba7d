"""Workers that vanish, freeze or are told nothing, while an order is on its way.

Every call to a provider is at one of four points when its worker is killed: it has not arrived,
it is under way, its answer has not been written down, or it has, and nobody heard of that. Whoever
takes over ends the order, and each provider has done its part exactly once.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest

from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import connect
from orders.contracts import CreateOrder, RequestedLine
from orders.models import Order
from tests.crashes.conftest import LEDGERS, Platform
from tests.journeys.shop import SCARF, until

DONE = 'SELECT count(*) FROM "{}" WHERE key LIKE %b'
RECORDING = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %b"
MOVES = "SELECT sum(token)::bigint FROM notifications_partition"
LONGER_THAN_A_LEASE = 12.0
WRONG_CLOCK = """
import os, sys, time
true_time, shift = time.time, 3600 * int(sys.argv[1])
time.time = lambda: true_time() + shift
time.time_ns = lambda: int(1e9 * time.time())
os.environ["DJANGO_SETTINGS_MODULE"] = "ecommerce.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "runworker"])
"""
LEASES_LAST = 15.0
"""Seconds after which every lease and every claim of a dead worker has run out."""


def order() -> str:
    order_id = f"order-{uuid4().hex}"
    lines = (RequestedLine(product_id=SCARF, quantity=1),)
    command = CreateOrder(order_id=order_id, customer_id="cust-123", lines=lines)
    execute(command, tenant="main", actor="test")
    return order_id


def is_over(platform: Platform, order_id: str) -> bool:
    """Whether an order is shipped, and the customer was told three times."""
    shipped = Order.objects.filter(order_id=order_id, status__in=("Shipped", "Delivered")).exists()
    told = "SELECT count(*) FROM notifications_notification WHERE order_id = %b AND status = 'Sent'"
    return shipped and platform.ask(told, order_id) == 3


def assert_everything_happened_once(platform: Platform, order_ids: list[str]) -> None:
    """One charge, one label, three messages, and one event of each kind, for every order."""
    for order_id in order_ids:
        counts = {
            "charges": "FROM payments_simulatedcharge WHERE state = 'captured' AND key LIKE %b",
            "labels": "FROM shipping_simulatedlabel WHERE reference LIKE %b",
            "mails": "FROM notifications_mail WHERE key LIKE %b",
            "paid": "FROM payments_log WHERE name = 'payments.PaymentProcessed' AND stream LIKE %b",
            "shipped": "FROM shipping_log WHERE name = 'shipping.ShipmentCreated' AND stream LIKE %b",
            "sent": "FROM notifications_log WHERE name = 'notifications.NotificationSent' "
            "AND stream LIKE %b",
        }
        found = {
            name: platform.ask(f"SELECT count(*) {rest}", f"%{order_id}%")
            for name, rest in counts.items()
        }
        assert found == {
            "charges": 1, "labels": 1, "mails": 3, "paid": 1, "shipped": 1, "sent": 3,
        }  # fmt: skip


def before_it_arrives(platform: Platform, service: str, kill: Callable[[], None]) -> str:
    with platform.closed(service):
        order_id = order()
        until(lambda: platform.calls_at(service))
        kill()
        platform.lose_calls_at(service)
        until(lambda: not platform.calls_at(service))
    return order_id


def while_it_is_under_way(platform: Platform, service: str, kill: Callable[[], None]) -> str:
    with platform.closed(service):
        order_id = order()
        until(lambda: platform.calls_at(service))
        kill()
    until(lambda: not platform.calls_at(service))
    if service == "payments":  # whose books are one statement; the others' calls were rolled back
        until(lambda: platform.ask(DONE.format(LEDGERS[service]), f"%{order_id}%"))
    return order_id


def while_its_answer_is_recorded(
    platform: Platform, service: str, kill: Callable[[], None], *, reaches_commit: bool
) -> str:
    """All statements of the commit are with the server already; it goes on with them, or not."""
    intents = f"{service}_effect"
    recording = f'%DELETE FROM "{intents}" e USING%'
    with connect("default") as conn, conn.transaction():
        with platform.closed(service):
            order_id = order()
            until(lambda: platform.calls_at(service))
            conn.execute(f'SELECT FROM "{intents}" FOR UPDATE')
        until(lambda: platform.ask(f"SELECT count(*) {RECORDING}", recording))
        assert platform.ask(DONE.format(LEDGERS[service]), f"%{order_id}%")
        kill()
        if not reaches_commit:
            platform.ask(f"SELECT count(pg_terminate_backend(pid)) {RECORDING}", recording)
            until(lambda: not platform.ask(f"SELECT count(*) {RECORDING}", recording))
    return order_id


before_its_answer_is_recorded = partial(while_its_answer_is_recorded, reaches_commit=False)
before_it_hears_that_its_answer_is = partial(while_its_answer_is_recorded, reaches_commit=True)


@pytest.mark.parametrize(
    "moment",
    [
        before_it_arrives,
        while_it_is_under_way,
        pytest.param(before_its_answer_is_recorded, id="before_its_answer_is_recorded"),
        pytest.param(before_it_hears_that_its_answer_is, id="before_it_hears_that_its_answer_is"),
    ],
)
def test_a_worker_is_killed_at_a_call(
    platform: Platform, moment: Callable[[Platform, str, Callable[[], None]], str]
) -> None:
    worker = platform.start_worker()
    order_ids = []
    for service in LEDGERS:
        # given
        order_ids.append(moment(platform, service, worker.kill))
        # when
        platform.pass_time(LEASES_LAST)
        worker = platform.start_worker()
        # then
        until(lambda: is_over(platform, order_ids[-1]))
    platform.audit()
    assert_everything_happened_once(platform, order_ids)


def test_a_worker_freezes_past_its_leases_and_wakes_again(platform: Platform) -> None:
    # given a worker that stands still in the middle of a call
    frozen = platform.start_worker()
    with platform.closed("payments"):
        first = order()
        until(lambda: platform.calls_at("payments"))
        frozen.send(signal.SIGSTOP)
    # when another takes over, and only then the first one goes on
    platform.pass_time(LEASES_LAST)
    other = platform.start_worker()
    until(lambda: is_over(platform, first))
    assert platform.holds(other) > 0
    second = order()
    until(lambda: is_over(platform, second))
    frozen.send(signal.SIGCONT)
    # then its answer comes too late to count, and it takes part again
    until(lambda: "a late answer of payments.charge_card" in frozen.log.read_text())
    until(lambda: platform.holds(frozen) == platform.holds(other) > 0)
    third = order()
    until(lambda: is_over(platform, third))
    calls = "SELECT max(calls) FROM payments_simulatedcharge"
    assert platform.ask(calls) == 2
    platform.audit()
    assert_everything_happened_once(platform, [first, second, third])


def test_the_work_of_a_killed_worker_goes_on_within_seconds(platform: Platform) -> None:
    # given two at work
    doomed, other = platform.start_worker(), platform.start_worker()
    until(lambda: platform.holds(doomed) == platform.holds(other) > 0)
    # when
    order_ids = [order() for _ in range(10)]
    doomed.kill()
    killed = time.monotonic()
    order_ids += [order() for _ in range(10)]
    # then nothing waits longer than for leases to run out, by the true clock
    until(lambda: all(is_over(platform, each) for each in order_ids), seconds=30)
    assert time.monotonic() - killed < 20
    platform.audit()
    assert_everything_happened_once(platform, order_ids)


def test_a_stopped_worker_leaves_its_work_to_the_next_at_once(platform: Platform) -> None:
    # given
    first = platform.start_worker()
    order_ids = [order() for _ in range(5)]
    # when
    first.stop()
    platform.start_worker()
    # then nobody waits for a lease
    started = time.monotonic()
    until(lambda: all(is_over(platform, each) for each in order_ids))
    assert time.monotonic() - started < 5
    platform.audit()
    assert_everything_happened_once(platform, order_ids)


def test_nobody_is_told_of_new_work(platform: Platform) -> None:
    # given workers that neither hear nor send a notification
    platform.start_worker(MESSAGING_NOTIFY="0")
    with connect("default") as conn:
        conn.execute("SELECT pg_sleep(1.5)")  # what it was woken by at its start is over
    # when
    started = time.monotonic()
    order_id = order()
    # then they look by themselves
    until(lambda: is_over(platform, order_id))
    assert time.monotonic() - started < 15
    platform.audit()
    assert_everything_happened_once(platform, [order_id])


def test_workers_whose_clocks_are_wrong_share_the_work(platform: Platform) -> None:
    # given one that is an hour ahead, and one that is an hour behind
    workers = [platform.start([sys.executable, "-c", WRONG_CLOCK, hours]) for hours in ("1", "-1")]
    until(lambda: platform.holds(workers[0]) == platform.holds(workers[1]) == 32, seconds=40)
    moved = platform.ask(MOVES)
    # when they work for longer than a lease
    begun = time.monotonic()
    order_ids = [order() for _ in range(10)]
    until(lambda: all(is_over(platform, each) for each in order_ids))
    until(lambda: time.monotonic() - begun > LONGER_THAN_A_LEASE)
    # then neither takes the other for dead, and every stream has its order
    assert [platform.holds(worker) for worker in workers] == [32, 32]
    assert platform.ask(MOVES) == moved
    platform.audit()
    assert_everything_happened_once(platform, order_ids)
