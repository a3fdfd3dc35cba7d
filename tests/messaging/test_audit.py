"""The audit finds nothing in a shop that is well, and names whatever is wrong."""

from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django.fixtures import Settings

from ecommerce.audit import audit, checks
from ecommerce.messaging.bus import execute
from ecommerce.messaging.invariants import Check, Finding, run
from ecommerce.messaging.services import service, services
from inventory import projections
from inventory.contracts import RestockInventory
from inventory.models import Reservation, StockItem
from orders.contracts import CancelOrder
from payments.models import Payment
from tests.messaging.conftest import Clock
from tests.messaging.ordering import open_shop, place, settle

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


def wrong(*, rebuild: bool = False) -> list[tuple[str, str, int]]:
    """What the audit finds."""
    findings = audit(rebuild=rebuild, patience=0)
    return [(each.area, each.name, each.offending) for each in findings if not each.ok]


def audited(*args: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("audit", "--patience", "0", *args, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_shop_that_is_well_passes_every_check(shop: None) -> None:
    assert wrong(rebuild=True) == []

    code, report = audited("--rebuild")

    assert code == 0
    assert f"{len(checks(rebuild=True))} checks, 0 failed." in report


def test_every_service_is_asked_its_own_questions() -> None:
    asked = {check.area for check in checks()}

    assert asked == {*(config.label for config in services()), "platform"}
    assert "No order was charged twice" in [check.name for check in checks()]


def test_stock_that_was_changed_by_hand_is_named(shop: None) -> None:
    StockItem.objects.filter(product_id="mouse").update(on_hand=7)

    code, report = audited()

    assert code == 1
    assert "inventory.StockItem main/mouse: on_hand is 7, not 98" in report
    assert wrong() == [
        ("inventory", "Stock on hand and reserved is the sum of the product's ledger", 1),
        ("inventory", "StockItem rows are the fold of their streams", 1),
    ]


def test_money_that_no_order_answers_for_is_named(shop: None) -> None:
    Payment.objects.filter(order_id="one").update(amount=1)

    (finding,) = [each for each in audit(patience=0) if each.area == "platform" and not each.ok]

    assert finding.name == "captured money is that of paid orders, to the cent"
    assert finding.shown == ["tenant main, order one: captured 0.01 USD, order 59.97 USD"]


def test_a_dead_letter_and_a_delivery_that_was_done_twice_are_found(
    shop: None, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    with monkeypatch.context() as broken:
        broken.delattr(projections, "InventoryRestocked")
        execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")
        settle()
        assert wrong() == []
        clock.advance(100)
        assert ("inventory", "no parked delivery has been due for a minute", 1) in wrong()
        for _ in range(10):
            clock.advance(400)
            settle()
    deliveries = service("orders").tables.delivery._default_manager
    again = deliveries.filter(outcome="done")[0]
    again.pk = None
    again.save()

    assert wrong() == [
        ("orders", "no delivery was done twice", 1),
        ("inventory", "there are no dead letters", 1),
    ]


def test_messages_that_nobody_reads_are_found_after_a_minute(shop: None, clock: Clock) -> None:
    execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")

    assert wrong() == []
    clock.advance(61)

    unread = {(service, rule) for service, rule, _ in wrong()}
    assert ("inventory", "no message has been left unread for a minute") in unread
    settle()
    assert wrong() == []


def test_stock_of_a_shipped_order_that_was_never_committed_is_found(shop: None) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "DELETE FROM inventory_log WHERE name IN "
            "('inventory.InventoryCommitted', 'inventory.InventoryReleased')"
        )
        cursor.execute("RESET session_replication_role")

    found = {name: number for area, name, number in wrong() if area == "platform"}

    assert found == {"shipped orders have left the stock": 1, "cancelled orders hold no stock": 2}
    assert Reservation.objects.filter(status="Committed").count() == 1


def test_a_lost_partition_is_found(shop: None) -> None:
    service("orders").tables.partition._default_manager.filter(number=3).delete()

    assert ("orders", "there are as many partitions as set", 1) in wrong()


def test_a_check_that_fails_is_a_finding_and_the_others_are_asked() -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("one by none")

    finding = run(Check("orders", "it works", broken))

    assert finding == Finding("orders", "it works", 1, ["ZeroDivisionError: one by none"])


def test_what_is_only_on_its_way_is_asked_again() -> None:
    answers = iter([["one"], ["one"], []])

    assert run(Check("orders", "soon", lambda: next(answers)), patience=20).ok
    assert not run(Check("orders", "never", lambda: ["one"]), patience=0.6).ok


def test_findings_can_be_read_by_programs(shop: None) -> None:
    StockItem.objects.filter(product_id="mouse").update(on_hand=7)

    code, report = audited("--json")

    findings = msgspec.json.decode(report, type=list[Finding])
    assert code == 1
    assert [each.name for each in findings if not each.ok] == [name for _, name, _ in wrong()]
