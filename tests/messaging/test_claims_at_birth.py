"""A worker claims the calls that its own deliveries ask for in the commit that asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import psycopg
import pytest
from django.conf import settings

from ecommerce.messaging import transactions
from ecommerce.messaging.claims import CLAIM_SECONDS
from ecommerce.messaging.database import connect
from ecommerce.messaging.messages import partition_of
from ecommerce.messaging.policies import Policy
from ecommerce.messaging.worker import Worker
from ecommerce.values import Money
from payments.contracts import ChargeCard, ProcessPayment
from tests.messaging.calls import Caller, Gateway, answers, in_ledger
from tests.messaging.conftest import Clock
from tests.messaging.steps import PATIENCE, Puppet, counts, fetch, until, waiting, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Whole = Callable[[], tuple[Puppet, Caller]]


@pytest.fixture
def whole(puppet: Callable[..., Puppet], caller: Callable[..., Caller]) -> Whole:
    """A worker of payments that delivers and performs, its partitions in its hands."""

    def make() -> tuple[Puppet, Caller]:
        deliverer, performer = puppet("payments", "whole"), caller("whole")
        performer.effects.drain = deliverer.drain
        deliverer.hold()
        performer.effects.step(performer.conn)
        return deliverer, performer

    return make


def ask(*orders: str) -> None:
    """Send payments a command for each order."""
    amount = Money(1999, "USD")
    commands = [
        ProcessPayment(order_id=each, customer_id="c", amount=amount, method="card_approved")
        for each in orders
    ]
    write("orders", *commands)


def claimed() -> int:
    ((count,),) = fetch("payments", "SELECT count(*) FROM {effect} WHERE token IS NOT NULL")
    return int(count)


def test_nobody_else_takes_it_and_it_is_called_without_a_look(
    whole: Whole, caller: Callable[..., Caller], gateway: Gateway
) -> None:
    deliverer, performer = whole()
    ask("o1")
    deliverer.step()

    assert claimed() == 1
    assert fetch("payments", "SELECT attempts, claims FROM {effect}") == [(0, 1)]
    assert caller("other").perform() == 0
    assert performer.effects.step(performer.conn, asked=False) == 1
    performer.record()

    assert (answers(), in_ledger()) == ([("o1", "approved")], [("captured", 1)])
    assert counts("payments")["effect"] == 0
    query = (
        "SELECT attempt, waited_us < 10000000 FROM \"{delivery}\" WHERE handler LIKE '%charge_card'"
    )
    assert fetch("payments", query.replace("%", "%%")) == [(1, True)]


def test_without_room_it_is_left_for_whoever_looks(
    whole: Whole, caller: Callable[..., Caller]
) -> None:
    deliverer, _ = whole()
    deliverer.drain.room = 0
    ask("o1")
    deliverer.step()

    assert claimed() == 0
    assert caller("other").perform() == 1


def test_a_crash_before_the_call_costs_time_only(
    whole: Whole, caller: Callable[..., Caller], gateway: Gateway, clock: Clock
) -> None:
    deliverer, late = whole()
    ask("o1")
    deliverer.step()
    heir = caller("heir")

    clock.advance(CLAIM_SECONDS - 1)
    assert heir.perform() == 0
    clock.advance(2)
    assert heir.perform() == 1

    # and should it come back, its answer counts no more
    late.perform()
    assert gateway.calls == 2
    assert (answers(), in_ledger()) == ([("o1", "approved")], [("captured", 2)])


def partition(order: str) -> int:
    return partition_of("main", f"order/{order}", settings.MESSAGING_PARTITIONS)


def test_whoever_calls_again_tells_the_provider_the_same(
    whole: Whole, caller: Callable[..., Caller], clock: Clock
) -> None:
    deliverer, _ = whole()
    ask("o1")
    deliverer.step()
    (first,) = deliverer.drain.claimed
    heir = caller("heir")

    clock.advance(CLAIM_SECONDS + 1)
    (again,) = heir.effects._claim(heir.conn, 1)

    assert again.delivery.stored.message() == first.delivery.message
    assert (
        msgspec.structs.astuple(again.delivery.stored)[:-1]
        == msgspec.structs.astuple(first.delivery.stored)[:-1]
    )


def test_it_claims_no_more_than_it_can_carry_out_and_half_of_that_in_one_partition(
    whole: Whole,
) -> None:
    orders = [f"o{number}" for number in range(200)]
    busy = [order for order in orders if partition(order) == partition("o0")]
    others = [order for order in orders if order not in busy]
    deliverer, performer = whole()
    deliverer.drain.room = 10
    ask(*busy[:12], *others[:3])
    deliverer.step()

    query = "SELECT count(*) FROM {effect} WHERE token IS NOT NULL GROUP BY partition = %b::int"
    assert sorted(fetch("payments", query, partition("o0"))) == [(3,), (5,)]
    assert deliverer.drain.room == 2

    # the rest is found by a look
    while counts("payments")["effect"]:
        performer.perform()
    assert len(answers()) == 15
    assert in_ledger() == [("captured", 1)] * 15


def test_a_commit_that_fails_claims_nothing(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    deliverer, _ = whole()
    room = deliverer.drain.room
    ask("o1")
    kept = transactions.commit

    def refuse(*args: object) -> None:
        monkeypatch.setattr("ecommerce.messaging.drain.commit", kept)
        raise psycopg.errors.DeadlockDetected

    monkeypatch.setattr("ecommerce.messaging.drain.commit", refuse)
    deliverer.step()

    assert len(deliverer.drain.claimed) == 1
    assert deliverer.drain.room == room - 1
    assert claimed() == 1


def test_where_a_policy_limits_calls_each_is_admitted_by_a_look(
    declare: Callable[..., None], whole: Whole
) -> None:
    declare(Policy(name="two", messages=(ChargeCard,), concurrency=2))
    deliverer, performer = whole()
    ask("o1", "o2", "o3")
    deliverer.step()

    assert claimed() == 0
    assert performer.start() == 2


@contextmanager
def no_batch_ends() -> Iterator[None]:
    """Who writes to the delivery log waits until the end of this."""
    with connect("default") as conn, conn.transaction():
        conn.execute("LOCK TABLE payments_delivery IN SHARE MODE")
        yield


def left_by_one_that_is_stopped_in_its_last_batch(worker: Worker) -> int:
    """How many calls a worker leaves that is told to stop in the middle of a batch."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    until(lambda: next(d for d in worker.lanes[0].drains if d.name == "payments").room > 0)
    with no_batch_ends():
        ask("o1")
        worker.woken.set()
        until(lambda: waiting("payments"))
        worker.stop()
        if worker.delivered.is_set():
            worker.lanes[0].performing.set()
            until(lambda: "effects" not in {each.name for each in threading.enumerate()})
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return counts("payments")["effect"]


def test_a_worker_that_stops_makes_the_calls_that_its_last_batch_claimed(gateway: Gateway) -> None:
    assert left_by_one_that_is_stopped_in_its_last_batch(Worker(["payments"])) == 0
    assert answers() == [("o1", "approved")]


def test_control_one_whose_calls_end_before_its_deliveries_leaves_them(gateway: Gateway) -> None:
    worker = Worker(["payments"])
    worker.delivered = worker.stopping

    assert left_by_one_that_is_stopped_in_its_last_batch(worker) == 1
