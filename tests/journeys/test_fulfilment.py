"""Where orders end: delivered, or cancelled because there is no money, no stock or no way."""

from __future__ import annotations

import pytest

from inventory.queries import summary
from notifications.queries import mailbox, notifications_of
from payments.models import SimulatedCharge
from shipping.models import SimulatedLabel
from tests.journeys.apart import in_both_forms
from tests.journeys.audit import settle
from tests.journeys.conftest import BackgroundWorker, Clock
from tests.journeys.shop import ADDRESS, JACKET, SCARF, Shop, until

pytestmark = pytest.mark.django_db(transaction=True)


def today(shop: Shop) -> tuple[int, float, int]:
    """Orders, revenue and cancelled orders of the day; it comes up with its first order."""
    (day,) = until(lambda: shop.get("/api/analytics/sales/daily")["items"])
    return day["totalOrders"], day["totalRevenue"], day["cancelledOrders"]


@in_both_forms
def test_a_shipped_order_is_delivered(shop: Shop, worker: BackgroundWorker, clock: Clock) -> None:
    # given
    order_id = shop.order()
    shipped = shop.wait_for(order_id, "Shipped")
    assert shipped["shippingAddress"] == ADDRESS
    # when the goods have travelled
    with worker.paused():
        clock.advance(minutes=1)
    # then
    delivered = shop.wait_for(order_id, "Delivered")
    assert delivered["shipmentInfo"]["actualDelivery"]
    assert shop.events(order_id) == [
        "OrderCreated",
        "OrderReserved",
        "OrderPaid",
        "OrderShipped",
        "OrderDelivered",
    ]


@in_both_forms
def test_a_declined_card_ends_the_order_and_frees_the_stock(
    shop: Shop, worker: BackgroundWorker
) -> None:
    # when
    order_id = shop.order({SCARF: 2, JACKET: 1}, card="card_declined")
    # then
    cancelled = shop.wait_for(order_id, "Cancelled")
    assert cancelled["cancelReason"] == "payment_declined"
    assert cancelled["shipmentInfo"] is None
    until(lambda: shop.summary(order_id)["paymentInfo"]["status"] == "Failed")
    until(lambda: shop.stock(SCARF) == {"quantity": 100, "reserved": 0, "available": 100})
    until(lambda: shop.stock(JACKET) == {"quantity": 50, "reserved": 0, "available": 50})
    # and it is no sale, and nobody gets a receipt
    until(lambda: today(shop) == (0, 0, 1))
    until(lambda: shop.get("/api/customers/cust-123")["totalOrders"] == 0)
    told = {each.notification_type for each in notifications_of("main", order_id)}
    assert told == {"order_confirmation"}


def test_without_enough_stock_nothing_is_held_and_nothing_is_charged(
    shop: Shop, worker: BackgroundWorker
) -> None:
    # when one line of two cannot be had
    order_id = shop.order({SCARF: 2, JACKET: 51})
    # then
    cancelled = shop.wait_for(order_id, "Cancelled")
    assert cancelled["cancelReason"] == "insufficient_stock"
    assert (cancelled["paymentInfo"], cancelled["shipmentInfo"]) == (None, None)
    assert shop.stock(SCARF)["available"] == 100
    assert shop.stock(JACKET)["available"] == 50
    assert not SimulatedCharge.objects.exists()
    assert shop.events(order_id) == ["OrderCreated", "OrderCancelled"]
    # and the shortage is counted
    short = until(lambda: summary("main", JACKET))
    assert short is not None
    assert short.total_insufficient_count == 1


@in_both_forms
def test_a_carrier_that_refuses_gives_money_and_stock_back(
    shop: Shop, worker: BackgroundWorker
) -> None:
    # when
    order_id = shop.order(address=ADDRESS | {"zipCode": "00000"})
    # then
    cancelled = shop.wait_for(order_id, "Cancelled")
    assert cancelled["cancelReason"] == "shipment_failed"
    until(lambda: shop.summary(order_id)["paymentInfo"]["status"] == "Refunded")
    until(lambda: shop.stock() == {"quantity": 100, "reserved": 0, "available": 100})
    assert SimulatedCharge.objects.get().state == "refunded"
    assert not SimulatedLabel.objects.exists()


def test_providers_that_fail_for_a_while_cost_time_only(shop: Shop, clock: Clock) -> None:
    # given a gateway that fails twice, and a carrier that sells a label and does not say so
    order_id = shop.order(card="card_error", address=ADDRESS | {"city": "Lost Answer"})
    settle()
    assert shop.status(order_id) == "Reserved"
    # when they are asked again
    for _ in range(3):
        clock.advance(seconds=5)
        settle()
    # then
    assert shop.status(order_id) == "Shipped"
    assert SimulatedCharge.objects.get().state == "captured"
    assert SimulatedLabel.objects.count() == 1
    assert len(mailbox("main")) == 3


def test_an_answer_that_was_lost_is_looked_up(shop: Shop, worker: BackgroundWorker) -> None:
    order_id = shop.order(card="card_answer_lost")

    shop.wait_for(order_id, "Shipped")
    assert SimulatedCharge.objects.get().calls == 1
