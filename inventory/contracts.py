"""Messages that the inventory service owns.

A reservation is one public event on the order's stream; every change of stock is also one
ledger event on the product's stream.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import msgspec

from ecommerce.messaging.messages import Message, command, event


class WantedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of an order that needs stock."""

    line_id: str
    product_id: str
    quantity: int


class ReservedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of an order with the warehouse that holds its stock."""

    line_id: str
    product_id: str
    quantity: int
    warehouse: str


class Shortage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product of which too little, or nothing, is available."""

    product_id: str
    requested: int
    available: int


@command(stream="order_id")
class ReserveInventory(Message):
    """Hold stock for all lines of an order, or for none. `expires_at` is the saga's deadline."""

    order_id: str
    lines: tuple[WantedLine, ...]
    expires_at: datetime

    @property
    def quantities(self) -> Counter[str]:
        """How many of each product are wanted, over all lines."""
        wanted: Counter[str] = Counter()
        for line in self.lines:
            wanted[line.product_id] += line.quantity
        return wanted

    @property
    def product_ids(self) -> list[str]:
        return list(self.quantities)


@command(stream="order_id")
class ReleaseInventory(Message):
    """Give back what an order holds. Without a reservation it forbids a later one."""

    order_id: str
    product_ids: tuple[str, ...]
    reason: str


@command(stream="order_id")
class CommitInventory(Message):
    """The order was shipped: its reserved stock leaves the warehouse."""

    order_id: str
    product_ids: tuple[str, ...]


@command(stream="product_id")
class CreateProduct(Message):
    """Add a product to the catalogue. `price` is in minor units of `currency`."""

    product_id: str
    name: str
    description: str
    price: int
    currency: str
    initial_stock: int = 0
    image_url: str | None = None
    category: str = ""


@command(stream="product_id")
class RestockInventory(Message):
    """Add units to a product's stock."""

    product_id: str
    quantity: int


@command(stream="product_id")
class AdjustInventory(Message):
    """Correct a product's stock by a signed number of units."""

    product_id: str
    change: int
    reason: str


@event(stream="order_id")
class InventoryReserved(Message):
    """Every line of the order is held until `expires_at`."""

    order_id: str
    lines: tuple[ReservedLine, ...]
    expires_at: datetime


@event(stream="order_id")
class InventoryInsufficient(Message):
    """Nothing was held, because these products fall short."""

    order_id: str
    shortages: tuple[Shortage, ...]


@event(stream="order_id")
class InventoryReleased(Message):
    """The order holds no stock any more; `lines` is what it held."""

    order_id: str
    lines: tuple[ReservedLine, ...]
    reason: str


@event(stream="order_id")
class InventoryCommitted(Message):
    """The order's stock has left the warehouse."""

    order_id: str
    lines: tuple[ReservedLine, ...]


@event(stream="product_id")
class ProductCreated(Message):
    """A product is in the catalogue, with no stock yet."""

    product_id: str
    name: str
    description: str
    price: int
    currency: str
    image_url: str | None
    created_at: datetime
    category: str = ""


@event(stream="product_id")
class InventoryRestocked(Message):
    """Ledger: units arrived."""

    product_id: str
    quantity: int


@event(stream="product_id")
class InventoryAdjusted(Message):
    """Ledger: the count was corrected."""

    product_id: str
    change: int
    reason: str


@event(stream="product_id")
class StockReserved(Message):
    """Ledger: units moved from available to reserved for an order."""

    product_id: str
    order_id: str
    warehouse: str
    quantity: int


@event(stream="product_id")
class StockReleased(Message):
    """Ledger: units moved back from reserved to available."""

    product_id: str
    order_id: str
    warehouse: str
    quantity: int


@event(stream="product_id")
class StockCommitted(Message):
    """Ledger: reserved units left the warehouse."""

    product_id: str
    order_id: str
    warehouse: str
    quantity: int
