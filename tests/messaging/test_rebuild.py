"""Read models and aggregates are what the events give; what is not, is found and repaired."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from analytics.models import DailySales
from customers.models import CustomerActivity, OrderSummary
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import Connection
from ecommerce.messaging.folds import fold_differences
from ecommerce.messaging.projections import (
    aggregates,
    differences,
    groups,
    read_models,
    rebuild,
)
from ecommerce.messaging.replay import RebuildFailed
from inventory import projections
from inventory.contracts import RestockInventory
from inventory.models import InventoryLevel, StockItem
from orders.contracts import CancelOrder
from orders.models import Order
from tests.messaging.conftest import Clock
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import Puppet, fetch, until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(autouse=True)
def _quick_delivery(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0


@pytest.fixture
def shop() -> None:
    """A shop with a delivered, a declined, a cancelled and a too large order."""
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    place("two", card="card_declined", customer="cust-2")
    place("three", {"desk": 500})
    place("four")
    execute(CancelOrder(order_id="four"), tenant="main", actor="user:1")
    settle()


def run(command: str, *args: str) -> str:
    out = StringIO()
    call_command(command, *args, stdout=out, stderr=out)
    return out.getvalue()


def test_after_orders_of_every_kind_all_rows_are_what_the_events_give(shop: None) -> None:
    assert Order.objects.get(order_id="one").status == "Delivered"
    assert differences() == []
    assert [d for model in aggregates() for d in fold_differences(model)] == []
    assert "customers.OrderSummary: as the events say" in run("rebuild", "--compare")


def test_a_wrong_a_missing_and_a_surplus_row_are_found_and_repaired(shop: None) -> None:
    before = list(OrderSummary.objects.order_by("order_id").values())
    OrderSummary.objects.filter(order_id="one").update(status="Lost", payment_id="x")
    OrderSummary.objects.filter(order_id="two").delete()
    OrderSummary.objects.create(order_id="ghost", tenant="main", updated_at=before[0]["updated_at"])

    assert [str(found) for found in differences(OrderSummary)] == [
        "customers.OrderSummary main/ghost should not exist",
        "customers.OrderSummary main/one: status is 'Lost', not 'Delivered', payment_id is 'x', not 'pay-one'",
        "customers.OrderSummary main/two is missing",
    ]
    with pytest.raises(CommandError, match="3 rows differ"):
        run("rebuild", "customers.OrderSummary", "--compare")
    assert OrderSummary.objects.filter(order_id="ghost").exists()

    assert "customers.OrderSummary: 3 rows replaced" in run("rebuild", "customers.OrderSummary")

    after = list(OrderSummary.objects.order_by("order_id").values())
    kept = {row["order_id"]: row["id"] for row in before if row["order_id"] != "two"}
    assert kept.items() <= {row["order_id"]: row["id"] for row in after}.items()
    assert [{**row, "id": None} for row in after] == [{**row, "id": None} for row in before]
    assert differences() == []


def test_everything_can_be_made_from_nothing(shop: None) -> None:
    for model in read_models():
        model._default_manager.all().delete()

    run("rebuild")

    assert differences() == []
    assert CustomerActivity.objects.get(customer_id="cust-2").total_orders == 0


def test_models_that_share_a_projection_are_made_together() -> None:
    (group,) = groups([DailySales])

    assert [model.__name__ for model in group] == [
        "Buyer",
        "Cohorts",
        "DailySales",
        "HourlySales",
        "PlacedOrder",
        "ProductSales",
    ]


def test_an_aggregate_that_is_not_the_fold_of_its_stream_is_found(shop: None) -> None:
    StockItem.objects.filter(product_id="mouse").update(on_hand=7, reserved=0)
    Order.objects.filter(order_id="two").delete()

    assert [str(found) for found in fold_differences(StockItem)] == [
        "inventory.StockItem main/mouse: on_hand is 7, not 98"
    ]
    assert [str(found) for found in fold_differences(Order)] == ["orders.Order main/two is missing"]


def test_events_that_the_service_has_not_read_are_left_to_it(shop: None) -> None:
    execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")

    assert differences(InventoryLevel) == []
    rebuild([InventoryLevel])
    settle()

    assert InventoryLevel.objects.get(product_id="mouse").quantity == 148
    assert differences(InventoryLevel) == []


def test_a_parked_delivery_is_left_out_and_reported_and_applied_once_when_it_is_retried(
    shop: None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.delattr(projections, "InventoryRestocked")
        execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")
        settle()
    execute(RestockInventory(product_id="mouse", quantity=5), tenant="main", actor="user:1")
    settle()
    assert fetch("inventory", 'SELECT count(*) FROM "{parked}"') == [(2,)]

    report = run("rebuild", "inventory.InventoryLevel")

    assert "inventory.InventoryLevel: as the events say" in report
    assert "2 deliveries to these projections are parked or dead" in report
    clock.advance(60)
    settle()
    assert InventoryLevel.objects.get(product_id="mouse").quantity == 153
    assert differences(InventoryLevel) == []


def test_a_projection_that_fails_on_an_event_leaves_the_table_alone(
    shop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    InventoryLevel.objects.filter(product_id="mouse").update(quantity=1)
    monkeypatch.delattr(projections, "StockCommitted")

    with pytest.raises(RebuildFailed, match=r"inventory_levels fails on inventory\.StockCommitted"):
        rebuild([InventoryLevel])

    assert InventoryLevel.objects.get(product_id="mouse").quantity == 1


class Pausing:
    """A batch's connection that waits, with its rows locked and changed, before it completes."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.paused, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, query: str, *args: Any, **options: Any) -> Any:
        if "lease lost" in query:
            self.paused.set()
            assert self.go_on.wait(20)
        return self._conn.execute(query, *args, **options)


WAITING = """
    SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE NOT granted AND datname = current_database()"""


def test_a_batch_that_is_under_way_is_waited_for(shop: None, puppet: Callable[..., Puppet]) -> None:
    InventoryLevel.objects.filter(product_id="mouse").update(name="wrong")
    execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")
    worker = puppet("inventory")
    worker.hold()
    pausing = Pausing(worker.conn)
    worker.conn = pausing  # type: ignore[assignment]
    batch = threading.Thread(target=worker.step)
    batch.start()
    assert pausing.paused.wait(20)

    rebuilding = threading.Thread(target=rebuild, args=([InventoryLevel],))
    rebuilding.start()
    until(lambda: fetch("inventory", WAITING))
    pausing.go_on.set()
    batch.join(20)
    rebuilding.join(20)

    level = InventoryLevel.objects.get(product_id="mouse")
    assert (level.name, level.quantity) == ("Mouse", 148)
    assert differences(InventoryLevel) == []


def test_orders_go_on_while_read_models_are_rebuilt_again_and_again(shop: None) -> None:
    stop = threading.Event()

    def rebuild_all() -> int:
        times = 0
        while not stop.is_set():
            for group in groups(read_models()):
                rebuild(group)
            times += 1
        return times

    with ThreadPoolExecutor(1) as pool:
        rebuilding = pool.submit(rebuild_all)
        for number in range(40):
            place(f"order-{number}", {"mouse": 1})
            if number % 10 == 9:
                settle()
        stop.set()
        assert rebuilding.result(60) > 0

    assert differences() == []
    for label in ("customers", "inventory", "analytics"):
        assert fetch(label, 'SELECT count(*) FROM "{parked}"') == [(0,)]
