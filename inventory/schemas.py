"""Inventory's requests and responses, as JSON shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from ecommerce.web import Input, MoneyIn, MoneyOut, Output, Paging, PublicId, Text

from .contracts import CreateProduct
from .models import StockItem
from .queries import LOW_STOCK


class NewProduct(Input):
    """A product for the catalogue."""

    product_id: PublicId
    name: Text
    description: Annotated[str, Field(max_length=4000)] = ""
    price: MoneyIn
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    initial_stock: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    image_url: Annotated[str, Field(max_length=500, pattern="^(https?://|/)")] | None = None
    category: Annotated[str, Field(max_length=40)] = ""

    def command(self) -> CreateProduct:
        """The command that asks for it."""
        return CreateProduct(**self.model_dump())


class ProductOut(Output):
    """A product as shoppers see it; `available` is what can be ordered now."""

    product_id: str
    name: str
    description: str
    price: MoneyOut
    currency: str
    image_url: str | None
    active: bool
    available: int = 0
    created_at: datetime


class Restock(Input):
    """Units that arrived."""

    quantity: Annotated[int, Field(ge=1, le=1_000_000)]


class Adjustment(Input):
    """A correction of the count, by a signed number of units."""

    change: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    reason: Text


class LowStock(Paging):
    """Which products are low: those with at most `threshold` units available."""

    threshold: Annotated[int, Field(ge=0, le=1_000_000)] = LOW_STOCK


class StockOut(Output):
    """How many units there are, and how many of them orders hold."""

    product_id: str
    quantity: int
    reserved: int
    available: int

    @classmethod
    def of(cls, stock: StockItem) -> StockOut:
        return cls(
            product_id=stock.product_id,
            quantity=stock.on_hand,
            reserved=stock.reserved,
            available=stock.available,
        )


class LevelOut(StockOut):
    """A product's stock as of `lastUpdated`."""

    name: str
    last_updated: datetime
