"""The trace of an order is a tree of causes in which every delivery stands once."""

from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from ecommerce.messaging.bus import execute
from ecommerce.messaging.services import services
from ecommerce.messaging.trace import Hop, Node, trace, unfinished
from inventory import projections
from orders.contracts import CancelOrder
from tests.messaging.conftest import Clock
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(autouse=True)
def _quick_delivery(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0


def traced(*args: str) -> str:
    out = StringIO()
    call_command("trace", *args, stdout=out)
    return out.getvalue()


def path(node: Node, *names: str) -> Node:
    """Walk down by the names of messages, without their service."""
    for name in names:
        (node,) = [child for child in node.children if child.name.endswith(f".{name}")]
    return node


def test_everything_that_an_order_caused_hangs_on_the_command_of_its_customer() -> None:
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    place("other")
    settle()

    (root,) = trace("main", "order/one")

    assert (root.name, root.actor) == ("orders.CreateOrder", "user:cust-1")
    reserved = path(root, "ReserveInventory", "InventoryReserved")
    charged = path(reserved, "ProcessPayment", "ChargeCard", "RecordCharge", "PaymentProcessed")
    label = path(charged, "CreateShipment", "BuyLabel", "RecordLabel")
    path(label, "ShipmentCreated", "CommitInventory", "InventoryCommitted")
    path(label, "TrackShipment", "RecordTracking", "ShipmentDelivered", "OrderDelivered")
    assert unfinished([root]) == []


def test_the_products_ledger_is_in_the_tree() -> None:
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    settle()

    (root,) = trace("main", "order/one")

    ledger = [node for node in root.walk() if node.stream.startswith("product/")]
    assert sorted((node.name, node.stream) for node in ledger) == [
        ("inventory.StockCommitted", "product/desk"),
        ("inventory.StockCommitted", "product/mouse"),
        ("inventory.StockReserved", "product/desk"),
        ("inventory.StockReserved", "product/mouse"),
    ]


def test_every_delivery_of_the_orders_messages_stands_in_the_tree_once() -> None:
    open_shop()
    before = {config.label: _last_delivery(config.label) for config in services()}
    place("one")
    settle()

    (root,) = trace("main", "order/one")

    hops = [(hop.service, hop.handler) for node in root.walk() for hop in node.hops]
    logged = [
        (config.label, handler)
        for config in services()
        for (handler,) in fetch(
            config.label, 'SELECT handler FROM "{delivery}" WHERE id > %b', before[config.label]
        )
    ]
    assert sorted(hops) == sorted(logged)
    assert len(hops) > 30


def test_what_nobody_has_done_yet_waits() -> None:
    open_shop()
    place("one")

    trees = trace("main", "order/one")

    assert {hop.handler for hop in unfinished(trees)} == {
        "analytics.sales",
        "customers.customer_activity",
        "customers.order_summary_from_orders",
        "customers.register_guest",
        "inventory.reserve_inventory",
        "notifications.confirm_order",
    }
    assert {hop.outcome for hop in unfinished(trees)} == {"waiting"}


def test_failed_attempts_are_shown_with_what_is_to_come(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    open_shop()
    with monkeypatch.context() as broken:
        broken.delattr(projections, "InventoryReserved")
        place("one", card="card_unavailable")
        settle()

    (root,) = trace("main", "order/one")

    failed = [hop for node in root.walk() for hop in node.hops if hop.outcome == "failed"]
    assert {hop.handler for hop in failed} == {
        "inventory.inventory_summary",
        "payments.charge_card",
    }
    assert sorted((hop.handler, hop.outcome, hop.attempt) for hop in unfinished([root])) == [
        ("inventory.inventory_summary", "parked", 1),
        ("payments.charge_card", "pending", 1),
    ]
    report = traced("one")
    assert "NameError: name 'InventoryReserved' is not defined" in report
    assert "2 deliveries are not over." in report

    for _ in range(4):
        clock.advance(10)
        settle()

    dead = [hop for hop in unfinished(trace("main", "order/one")) if hop.outcome == "dead"]
    assert [(hop.handler, hop.attempt) for hop in dead] == [("payments.charge_card", 4)]


def test_a_cancellation_is_a_tree_of_its_own() -> None:
    open_shop()
    place("one")
    execute(CancelOrder(order_id="one"), tenant="main", actor="user:7")
    settle()

    created, cancelled = trace("main", "order/one")

    assert created.name == "orders.CreateOrder"
    assert (cancelled.name, cancelled.actor) == ("orders.CancelOrder", "user:7")
    path(cancelled, "ReleaseInventory", "InventoryReleased")


def test_the_command_prints_the_tree() -> None:
    open_shop()
    place("one")
    settle()

    report = traced("one")

    first, *rest = report.splitlines()
    assert first.startswith("orders.CreateOrder  +0 ms  by user:cust-1")
    assert any("payments.PaymentProcessed" in line for line in rest)
    assert any("→ customers.order_summary_from_payments  waited " in line for line in rest)


def test_programs_get_the_same_tree() -> None:
    open_shop()
    place("one")
    settle()

    trees = msgspec.json.decode(traced("one", "--json"), type=list[Node])

    assert trees == trace("main", "order/one")
    assert isinstance(trees[0].hops[0], Hop)


def test_an_unknown_order_is_an_error() -> None:
    open_shop()
    place("one")

    with pytest.raises(CommandError, match=r"^There is no order two in main\.$"):
        traced("two")
    with pytest.raises(CommandError, match=r"^There is no order one in other\.$"):
        traced("one", "--tenant", "other")


def _last_delivery(label: str) -> int:
    last: int = fetch(label, 'SELECT coalesce(max(id), 0) FROM "{delivery}"')[0][0]
    return last
