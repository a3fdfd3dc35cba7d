"""Read models that people look at; each can be made again from inventory's events."""

from __future__ import annotations

from ecommerce.messaging.context import Context
from ecommerce.messaging.registry import Rows, projects

from .contracts import (
    InventoryAdjusted,
    InventoryInsufficient,
    InventoryReserved,
    InventoryRestocked,
    ProductCreated,
    StockCommitted,
    StockReleased,
    StockReserved,
)
from .models import InventoryLevel, InventorySummary

Ledger = (
    ProductCreated
    | InventoryRestocked
    | InventoryAdjusted
    | StockReserved
    | StockReleased
    | StockCommitted
)


@projects
def inventory_levels(
    event: Ledger, level: InventoryLevel | None, context: Context
) -> InventoryLevel | None:
    """Keep a product's stock; every change is relative, so their order does not matter."""
    missing = None
    if level is None:
        level = missing = InventoryLevel(
            tenant=context.tenant, product_id=event.product_id, last_updated=context.recorded_at
        )
    match event:
        case ProductCreated():
            level.name = event.name
        case InventoryRestocked():
            level.quantity += event.quantity
        case InventoryAdjusted():
            level.quantity += event.change
        case StockReserved():
            level.reserved += event.quantity
        case StockReleased():
            level.reserved -= event.quantity
        case StockCommitted():
            level.reserved -= event.quantity
            level.quantity -= event.quantity
    level.available = level.quantity - level.reserved
    level.last_updated = max(level.last_updated, context.recorded_at)
    return missing


def _product_ids(event: InventoryReserved | InventoryInsufficient) -> list[str]:
    named = event.lines if isinstance(event, InventoryReserved) else event.shortages
    return list(dict.fromkeys(one.product_id for one in named))


@projects(summaries=_product_ids)
def inventory_summary(
    event: InventoryReserved | InventoryInsufficient,
    summaries: Rows[InventorySummary],
    context: Context,
) -> list[InventorySummary]:
    """Count how often each product was reserved, and how often it fell short."""
    missing = {
        product_id: InventorySummary(tenant=context.tenant, product_id=product_id)
        for product_id in _product_ids(event)
        if product_id not in summaries
    }
    at = context.recorded_at
    for summary in (summaries | missing).values():
        if isinstance(event, InventoryReserved):
            summary.total_reservations += 1
            summary.total_reserved_quantity += sum(
                line.quantity for line in event.lines if line.product_id == summary.product_id
            )
            summary.last_reservation_at = max(summary.last_reservation_at or at, at)
        else:
            summary.total_insufficient_count += 1
            summary.last_insufficient_at = max(summary.last_insufficient_at or at, at)
    return list(missing.values())
