"""Ledgers of products, and of customers, as their services write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from customers.contracts import ContactSaved, CustomerRegistered
from ecommerce.messaging.events import append
from ecommerce.messaging.messages import Message
from inventory.contracts import (
    InventoryRestocked,
    ProductCreated,
    StockCommitted,
    StockReleased,
    StockReserved,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Move = StockReserved | StockReleased | StockCommitted | InventoryRestocked


def product(product_id: str = "mouse") -> ProductCreated:
    return ProductCreated(
        product_id=product_id, name="Mouse", description="", price=1999, currency="USD",
        image_url=None, created_at=NOW,
    )  # fmt: skip


def move(kind: type[Move], quantity: int, product_id: str = "mouse") -> Move:
    more = {} if kind is InventoryRestocked else {"order_id": "o1", "warehouse": "main"}
    return msgspec.convert({"product_id": product_id, "quantity": quantity} | more, kind)


def restocks(count: int, product_id: str = "mouse") -> list[Message]:
    return [move(InventoryRestocked, 1, product_id) for _ in range(count)]


def contact(name: str) -> ContactSaved:
    return ContactSaved(customer_id="ada", name=name, email=f"{name}@example.com")


def registered() -> CustomerRegistered:
    return CustomerRegistered(customer_id="ada", guest=False, registered_at=NOW)


def put(*events: Message, expected: int = 0, tenant: str = "main") -> int:
    return append(events, expected=expected, tenant=tenant, actor="test")


def put_one_by_one(events: Sequence[Message]) -> None:
    """Append, each event at a time of its own."""
    for number, event in enumerate(events):
        put(event, expected=number)
