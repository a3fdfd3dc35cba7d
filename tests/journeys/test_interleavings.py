"""Whatever the order in which the services hear of each other, the end is the same."""

from __future__ import annotations

import random

import pytest

from notifications.queries import notifications_of
from payments.models import SimulatedCharge
from shipping.models import SimulatedLabel
from tests.journeys.apart import IN_BOTH_FORMS
from tests.journeys.audit import settle
from tests.journeys.interleaving import Scheduler
from tests.journeys.shop import ADDRESS, JACKET, SCARF, Shop

pytestmark = IN_BOTH_FORMS[:2]

ANY = random.SystemRandom().randrange(2**32)
ORDERS_LAST = [(listener, "orders") for listener in ("notifications", "customers", "analytics")]


@pytest.mark.parametrize(
    ("form", "seed", "deaf"),
    [("together", 1, ORDERS_LAST), ("together", ANY, ()), ("apart", ANY, ())],
    ids=("together-orders-last", "together-any", "apart-any"),
    indirect=["form"],
)
def test_the_end_does_not_depend_on_who_is_heard_first(
    shop: Shop, seed: int, deaf: list[tuple[str, str]]
) -> None:
    print(f"the seed is {seed}")  # shown when the test fails
    # given
    orders = {
        "fine": shop.order({SCARF: 2, JACKET: 1}),
        "declined": shop.order({SCARF: 3}, card="card_declined"),
        "too many": shop.order({JACKET: 51, SCARF: 1}),
        "nowhere": shop.order({SCARF: 4}, address=ADDRESS | {"zipCode": "00000"}),
        "collected": shop.order({JACKET: 2}, address=None),
        "regretted": shop.order({SCARF: 5}),
    }
    # when
    with Scheduler(seed, deaf) as scheduler:
        scheduler.run(lambda: shop.cancel(orders["regretted"]))
    settle()
    # then
    ends = {name: shop.summary(order_id) for name, order_id in orders.items()}
    regretted = ends.pop("regretted")
    assert {name: (end["status"], end["cancelReason"]) for name, end in ends.items()} == {
        "fine": ("Shipped", None),
        "declined": ("Cancelled", "payment_declined"),
        "too many": ("Cancelled", "insufficient_stock"),
        "nowhere": ("Cancelled", "shipment_failed"),
        "collected": ("Shipped", None),
    }
    payments = {name: end["paymentInfo"] or {} for name, end in ends.items()}
    assert {name: payment.get("status") for name, payment in payments.items()} == {
        "fine": "Captured",
        "declined": "Failed",
        "too many": None,
        "nowhere": "Refunded",
        "collected": "Captured",
    }
    told = {
        name: sorted(each.notification_type for each in notifications_of("main", orders[name]))
        for name in ends
    }
    everything = ["order_confirmation", "payment_receipt", "shipment"]
    assert told == {
        "fine": everything,
        "declined": everything[:1],
        "too many": everything[:1],
        "nowhere": everything[:2],
        "collected": everything,
    }
    kept = regretted["status"] == "Shipped"
    assert kept or regretted["cancelReason"] == "customer_request"
    assert shop.stock(SCARF) == {
        "quantity": 98 - 5 * kept,
        "reserved": 0,
        "available": 98 - 5 * kept,
    }
    assert shop.stock(JACKET) == {"quantity": 47, "reserved": 0, "available": 47}
    assert SimulatedCharge.objects.filter(state="captured").count() == 2 + kept
    assert SimulatedLabel.objects.count() == 2 + kept
    (day,) = shop.get("/api/analytics/sales/daily")["items"]
    assert (day["totalOrders"], day["totalItemsSold"]) == (2 + kept, 5 + 5 * kept)
