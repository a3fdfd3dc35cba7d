"""What others may read of inventory. Products come by id; ids are unique in a tenant."""

from __future__ import annotations

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from .models import InventoryLevel, InventorySummary, Product

LOW_STOCK = 10
"""Units available, at and below which a product is on the low-stock list."""


def products(tenant: str) -> QuerySet[Product]:
    """The products that are for sale, each with the units that are `available`."""
    return _with_stock(tenant).filter(active=True).order_by("product_id")


def product(tenant: str, product_id: str) -> Product | None:
    """A product, also one that is not for sale any more, with its `available` units."""
    return _with_stock(tenant).filter(product_id=product_id).first()


def _with_stock(tenant: str) -> QuerySet[Product]:
    stock = InventoryLevel.objects.filter(tenant=tenant, product_id=OuterRef("product_id"))
    return Product.objects.filter(tenant=tenant).annotate(
        available=Coalesce(Subquery(stock.values("available")), 0)
    )


def levels(tenant: str) -> QuerySet[InventoryLevel]:
    """The stock of all products."""
    return InventoryLevel.objects.filter(tenant=tenant).order_by("product_id")


def level(tenant: str, product_id: str) -> InventoryLevel | None:
    """The stock of one product."""
    return InventoryLevel.objects.filter(tenant=tenant, product_id=product_id).first()


def low_stock(tenant: str, threshold: int = LOW_STOCK) -> QuerySet[InventoryLevel]:
    """The products of which at most `threshold` units are available, the scarcest first."""
    scarce = InventoryLevel.objects.filter(tenant=tenant, available__lte=threshold)
    return scarce.order_by("available", "product_id")


def summary(tenant: str, product_id: str) -> InventorySummary | None:
    """How often a product was reserved and fell short; None when nobody asked for it yet."""
    return InventorySummary.objects.filter(tenant=tenant, product_id=product_id).first()


_LEDGER = """
    SELECT tenant, fields->>'product_id' AS product_id,
           sum(CASE name WHEN 'inventory.InventoryRestocked' THEN (fields->>'quantity')::bigint
                         WHEN 'inventory.InventoryAdjusted' THEN (fields->>'change')::bigint
                         WHEN 'inventory.StockCommitted' THEN -(fields->>'quantity')::bigint
                         ELSE 0 END) AS on_hand,
           sum(CASE name WHEN 'inventory.StockReserved' THEN (fields->>'quantity')::bigint
                         WHEN 'inventory.StockReleased' THEN -(fields->>'quantity')::bigint
                         WHEN 'inventory.StockCommitted' THEN -(fields->>'quantity')::bigint
                         ELSE 0 END) AS reserved
    FROM inventory_log, LATERAL (SELECT payload::jsonb AS fields) AS decoded
    WHERE name IN ('inventory.InventoryRestocked', 'inventory.InventoryAdjusted',
                   'inventory.StockReserved', 'inventory.StockReleased', 'inventory.StockCommitted')
    GROUP BY 1, 2
"""

_HELD = """
    SELECT tenant, line.product_id, sum(line.quantity) AS quantity
    FROM inventory_reservation,
         jsonb_to_recordset(lines) AS line(product_id text, quantity bigint)
    WHERE status = 'Reserved'
    GROUP BY 1, 2
"""

INVARIANTS: list[tuple[str, str]] = [
    (
        "Stock on hand and reserved is the sum of the product's ledger",
        f"""
        SELECT tenant, product_id, stock.on_hand, stock.reserved,
               ledger.on_hand AS ledger_on_hand, ledger.reserved AS ledger_reserved
        FROM inventory_stockitem AS stock FULL JOIN ({_LEDGER}) AS ledger USING (tenant, product_id)
        WHERE (coalesce(stock.on_hand, 0), coalesce(stock.reserved, 0))
              <> (coalesce(ledger.on_hand, 0), coalesce(ledger.reserved, 0))
        """,
    ),
    (
        "Reserved stock is what the orders' reservations hold",
        f"""
        SELECT tenant, product_id, stock.reserved, held.quantity AS held
        FROM inventory_stockitem AS stock FULL JOIN ({_HELD}) AS held USING (tenant, product_id)
        WHERE coalesce(stock.reserved, 0) <> coalesce(held.quantity, 0)
        """,
    ),
    (
        "No stock is negative or oversold",
        """
        SELECT tenant, product_id, on_hand, reserved
        FROM inventory_stockitem
        WHERE reserved < 0 OR on_hand < reserved
        """,
    ),
]
"""Each name is a sentence that holds at any moment; its SQL returns the rows that break it."""
