"""Nobody waits for ever, and what comes after the deadline is undone."""

from __future__ import annotations

import pytest

from payments.models import Payment, SimulatedCharge
from shipping.models import SimulatedLabel
from tests.journeys.audit import settle
from tests.journeys.conftest import BackgroundWorker, Clock, Ledger
from tests.journeys.shop import Document, Shop, until

pytestmark = pytest.mark.django_db(transaction=True)

ALL_THERE = {"quantity": 100, "reserved": 0, "available": 100}


def cancelled(shop: Shop, order_id: str, reason: str) -> Document:
    found = shop.summary(order_id)
    assert (found["status"], found["cancelReason"]) == ("Cancelled", reason)
    assert shop.stock() == ALL_THERE
    return found


def test_a_payment_that_is_never_answered_ends_the_order(shop: Shop, clock: Clock) -> None:
    # given
    order_id = shop.order()
    for name in ("inventory", "orders"):
        settle(name)
    # when payments does not work at all
    clock.advance(minutes=14)
    settle("orders")
    assert shop.status(order_id) == "Reserved" or shop.status(order_id) == "Pending"
    clock.advance(minutes=2)
    settle("orders", "inventory", "customers")
    # then the stock is free, and the order is over
    cancelled(shop, order_id, "payment_timeout")
    # and payments, back again, keeps nothing
    settle()
    payment = cancelled(shop, order_id, "payment_timeout")["paymentInfo"]
    assert payment["status"] in ("Voided", "Refunded")
    assert SimulatedCharge.objects.get().state == payment["status"].lower()


def test_a_gateway_that_is_away_for_too_long(
    shop: Shop, clock: Clock, failures_of: set[str]
) -> None:
    # given a charge that is given up after its attempts
    failures_of.add("payments.charge_card")
    order_id = shop.order(card="card_timeout")
    settle()
    for _ in range(4):
        clock.advance(seconds=10)
        settle()
    assert shop.status(order_id) == "Reserved"
    # when
    clock.advance(minutes=15)
    settle()
    # then it is barred at the gateway, whatever became of it
    assert cancelled(shop, order_id, "payment_timeout")["paymentInfo"]["status"] == "Voided"
    assert SimulatedCharge.objects.get().state == "voided"


def test_a_gateway_that_answers_after_the_deadline(
    shop: Shop, worker: BackgroundWorker, gateway: Ledger, clock: Clock
) -> None:
    # given
    with gateway.closed():
        order_id = shop.order()
        gateway.wait_for_call()
        # when
        clock.advance(minutes=16)
        # then the order does not wait for it
        shop.wait_for(order_id, "Cancelled")
        until(lambda: shop.stock() == ALL_THERE)
    # and what it took it has to give back
    until(lambda: shop.summary(order_id)["paymentInfo"]["status"] in ("Voided", "Refunded"))
    payment = cancelled(shop, order_id, "payment_timeout")["paymentInfo"]
    assert SimulatedCharge.objects.get().state == payment["status"].lower()
    assert not SimulatedLabel.objects.exists()


def test_a_payment_that_was_there_before_the_deadline_counts(shop: Shop, clock: Clock) -> None:
    # given payments has taken the money, and nobody has heard of it
    order_id = shop.order()
    for name in ("inventory", "orders", "payments"):
        settle(name)
    # when the deadline passes before orders works again
    clock.advance(minutes=16)
    settle()
    # then messages are taken in the order in which they were recorded
    assert shop.status(order_id) == "Shipped"
    assert shop.stock() == {"quantity": 98, "reserved": 0, "available": 98}


def test_a_reservation_that_comes_after_the_deadline_holds_nothing(
    shop: Shop, clock: Clock
) -> None:
    # given inventory does not work
    order_id = shop.order()
    clock.advance(minutes=16)
    settle("orders", "customers")
    assert shop.status(order_id) == "Cancelled"
    # when it is back
    settle()
    # then
    assert cancelled(shop, order_id, "reservation_timeout")["paymentInfo"] is None
    assert not Payment.objects.exists()


def test_an_answer_from_stock_that_nobody_heard_in_time(shop: Shop, clock: Clock) -> None:
    # given
    order_id = shop.order()
    settle("inventory")
    assert shop.stock()["reserved"] == 2
    # when the deadline is swept before the answer is read
    clock.advance(minutes=16)
    settle("orders")
    # then
    settle()
    order = shop.summary(order_id)
    assert order["status"] == "Cancelled"
    assert order["cancelReason"] in ("reservation_timeout", "payment_timeout")
    assert shop.stock() == ALL_THERE
    assert not SimulatedCharge.objects.filter(state="captured").exists()


def test_a_cancellation_that_is_never_answered_ends_by_its_own_deadline(
    shop: Shop, clock: Clock
) -> None:
    # given
    order_id = shop.order()
    for name in ("inventory", "orders"):
        settle(name)
    assert shop.cancel(order_id).json()["status"] == "Cancelling"
    # when
    clock.advance(minutes=6)
    settle("orders", "inventory", "customers")
    # then
    cancelled(shop, order_id, "customer_request")
    settle()
    payment = cancelled(shop, order_id, "customer_request")["paymentInfo"]
    assert payment["status"] in ("Voided", "Refunded")


def test_a_paid_order_that_is_not_shipped_waits_for_an_operator(shop: Shop, clock: Clock) -> None:
    # given shipping does not work
    order_id = shop.order()
    for name in ("inventory", "orders", "payments", "orders"):
        settle(name)
    # when
    clock.advance(minutes=31)
    settle("orders", "customers", "payments")
    # then the customer still gets what they paid for
    assert shop.status(order_id) == "Paid"
    assert shop.events(order_id)[-1] == "OrderStalled"
    settle()
    assert shop.status(order_id) in ("Shipped", "Delivered")
    assert SimulatedLabel.objects.count() == 1


def test_an_answer_of_a_worker_that_lost_its_claim_is_dropped(
    shop: Shop, worker: BackgroundWorker, gateway: Ledger, clock: Clock
) -> None:
    # given a call that takes longer than any claim
    with gateway.closed():
        order_id = shop.order()
        gateway.wait_for_call()
        clock.advance(seconds=30)
        # when somebody else makes it as well
        until(lambda: gateway.calls_waiting() == 2)
    # then
    until(lambda: shop.status(order_id) in ("Shipped", "Delivered"))
    assert SimulatedCharge.objects.get().state == "captured"
    history = shop.events(order_id)
    assert history.count("OrderPaid") == 1
