"""Messages that the kernel's tests send, and what they ask of the services."""

from __future__ import annotations

from datetime import UTC, datetime

from ecommerce.messaging.bus import execute
from inventory.contracts import (
    CreateProduct,
    InventoryRestocked,
    ReserveInventory,
    WantedLine,
)

LATER = datetime(2040, 1, 1, tzinfo=UTC)


def restocked(product_id: str, quantity: int) -> InventoryRestocked:
    return InventoryRestocked(product_id=product_id, quantity=quantity)


def reserve(order_id: str, product_id: str = "mouse", quantity: int = 1) -> ReserveInventory:
    line = WantedLine(line_id="1", product_id=product_id, quantity=quantity)
    return ReserveInventory(order_id=order_id, lines=(line,), expires_at=LATER)


def create_product(product_id: str, stock: int = 0, tenant: str = "main") -> None:
    command = CreateProduct(
        product_id=product_id, name=product_id.title(), description="", price=1999,
        currency="USD", initial_stock=stock,
    )  # fmt: skip
    execute(command, tenant=tenant, actor="test")
