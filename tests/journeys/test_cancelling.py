"""A customer changes their mind, at every point of an order's way.

The services are moved by hand, each when the journey says so.
"""

from __future__ import annotations

import pytest

from ecommerce.messaging.database import connect
from ecommerce.messaging.services import service
from payments.models import Payment, SimulatedCharge
from tests.journeys.apart import in_both_forms
from tests.journeys.audit import settle
from tests.journeys.conftest import BackgroundWorker, Ledger
from tests.journeys.shop import Document, Shop, until

pytestmark = pytest.mark.django_db(transaction=True)


def problem(shop: Shop, order_id: str) -> tuple[int, str]:
    """How the shop refuses to cancel."""
    answer = shop.cancel(order_id)
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def assert_cancelled(shop: Shop, order_id: str) -> Document:
    """It was the customer's wish, all stock is there, and it cannot be cancelled again."""
    cancelled = shop.summary(order_id)
    assert (cancelled["status"], cancelled["cancelReason"]) == ("Cancelled", "customer_request")
    assert shop.stock() == {"quantity": 100, "reserved": 0, "available": 100}
    assert shop.get("/api/customers/cust-123")["totalSpent"] == 0
    assert problem(shop, order_id) == (409, "already-cancelled")
    return cancelled


@in_both_forms
def test_before_anybody_has_seen_the_order(shop: Shop) -> None:
    # given
    order_id = shop.order()
    # when
    answer = shop.cancel(order_id)
    # then it is over at once
    assert (answer.status_code, answer.json()["status"]) == (200, "Cancelled")
    settle()
    assert assert_cancelled(shop, order_id)["paymentInfo"] is None
    assert not Payment.objects.exists()


def test_while_stock_is_being_reserved(shop: Shop) -> None:
    # given inventory has answered, and orders has not heard it
    order_id = shop.order()
    settle("inventory")
    assert shop.stock()["reserved"] == 2
    # when
    assert shop.cancel(order_id).json()["status"] == "Cancelled"
    # then the answer comes too late
    settle()
    assert assert_cancelled(shop, order_id)["paymentInfo"] is None
    assert not Payment.objects.exists()


def test_before_the_payment_is_asked_for(shop: Shop) -> None:
    # given payments has not seen its command
    order_id = shop.order()
    settle("inventory")
    settle("orders")
    assert shop.status(order_id) in ("Pending", "Reserved")
    # when
    assert shop.cancel(order_id).json()["status"] == "Cancelling"
    # then no money is kept, whichever of the two calls came first
    settle()
    payment = assert_cancelled(shop, order_id)["paymentInfo"]
    assert payment["status"] in ("Voided", "Refunded")
    assert SimulatedCharge.objects.get().state == payment["status"].lower()


@in_both_forms
def test_during_the_payment_call(shop: Shop, worker: BackgroundWorker, gateway: Ledger) -> None:
    # given
    with gateway.closed():
        order_id = shop.order()
        gateway.wait_for_call()
        # when
        answer = shop.cancel(order_id)
        # then it waits for the gateway
        assert (answer.status_code, answer.json()["status"]) == (200, "Cancelling")
        shop.wait_for(order_id, "Cancelling")
        assert problem(shop, order_id) == (409, "already-cancelled")
    shop.wait_for(order_id, "Cancelled")
    until(lambda: shop.stock()["available"] == 100)
    settle()
    payment = assert_cancelled(shop, order_id)["paymentInfo"]
    assert payment["status"] in ("Voided", "Refunded")
    assert SimulatedCharge.objects.get().state == payment["status"].lower()


def test_between_the_call_and_the_record_of_its_answer(
    shop: Shop, worker: BackgroundWorker, gateway: Ledger
) -> None:
    effects = service("payments").tables.effect._meta.db_table
    with connect(service("payments").database) as conn:
        # given the money is taken, and payments cannot write it down
        with gateway.closed():
            order_id = shop.order()
            gateway.wait_for_call()
            conn.execute("BEGIN")
            conn.execute(f'SELECT FROM "{effects}" FOR UPDATE')
        until(SimulatedCharge.objects.filter(state="captured").exists)
        # when
        assert shop.cancel(order_id).json()["status"] == "Cancelling"
        until(Payment.objects.filter(status="Cancelling").exists)
        conn.execute("ROLLBACK")
    # then
    shop.wait_for(order_id, "Cancelled")
    settle()
    assert assert_cancelled(shop, order_id)["paymentInfo"]["status"] == "Refunded"
    assert SimulatedCharge.objects.get().state == "refunded"


@in_both_forms
def test_after_the_payment_before_orders_has_heard_of_it(shop: Shop) -> None:
    # given
    order_id = shop.order()
    for name in ("inventory", "orders", "payments"):
        settle(name)
    assert Payment.objects.get().status == "Captured"
    # when
    assert shop.cancel(order_id).json()["status"] == "Cancelling"
    # then the money goes back
    settle()
    assert assert_cancelled(shop, order_id)["paymentInfo"]["status"] == "Refunded"
    assert SimulatedCharge.objects.get().state == "refunded"
    assert shop.events(order_id) == [
        "OrderCreated",
        "OrderReserved",
        "OrderCancellationRequested",
        "OrderCancelled",
    ]


@in_both_forms
def test_once_shipping_was_asked_it_is_too_late(
    shop: Shop, worker: BackgroundWorker, carrier: Ledger
) -> None:
    # given
    with carrier.closed():
        order_id = shop.order()
        carrier.wait_for_call()
        shop.wait_for(order_id, "Paid")
        # when, then
        assert problem(shop, order_id) == (409, "too-late-to-cancel")
    shop.wait_for(order_id, "Shipped")
    assert problem(shop, order_id) == (409, "too-late-to-cancel")
    settle()
    assert shop.status(order_id) == "Shipped"
    assert shop.stock() == {"quantity": 98, "reserved": 0, "available": 98}
    assert SimulatedCharge.objects.get().state == "captured"
