"""Two hundred buyers want the last fifty jackets."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from inventory.models import InventorySummary, Reservation, StockItem
from payments.models import SimulatedCharge
from shipping.models import SimulatedLabel
from tests.journeys.audit import settle
from tests.journeys.conftest import BackgroundWorker
from tests.journeys.shop import JACKET, Shop

pytestmark = pytest.mark.django_db(transaction=True)

BUYERS, JACKETS = 200, 50


def test_exactly_as_many_win_as_there_are_jackets(shop: Shop, worker: BackgroundWorker) -> None:
    # when
    with ThreadPoolExecutor(16) as pool:
        buyers = [f"buyer-{number}" for number in range(BUYERS)]
        orders = list(pool.map(lambda buyer: shop.order({JACKET: 1}, customer=buyer), buyers))
    worker.stop()
    settle()
    # then
    ends = [shop.summary(order_id) for order_id in orders]
    assert Counter((end["status"], end["cancelReason"]) for end in ends) == {
        ("Shipped", None): JACKETS,
        ("Cancelled", "insufficient_stock"): BUYERS - JACKETS,
    }
    stock = StockItem.objects.get(product_id=JACKET)
    assert (stock.on_hand, stock.reserved) == (0, 0)
    assert Counter(Reservation.objects.values_list("status", flat=True)) == {
        "Committed": JACKETS,
        "Insufficient": BUYERS - JACKETS,
    }
    assert SimulatedCharge.objects.filter(state="captured").count() == JACKETS
    assert SimulatedLabel.objects.count() == JACKETS
    summary = InventorySummary.objects.get(product_id=JACKET)
    assert summary.total_insufficient_count == BUYERS - JACKETS
