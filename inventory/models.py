"""Inventory's tables: the catalogue, the stock, what orders hold of it, and the read models.

A `Product` and its `StockItem` are the fold of the product's stream, whose events are the ledger
of every unit that came, moved or left. A `Reservation` is the fold of its order's stream.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from django.db import models

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate, ReadModel
from ecommerce.messaging.tables import service_tables

from .contracts import (
    InventoryAdjusted,
    InventoryCommitted,
    InventoryInsufficient,
    InventoryReleased,
    InventoryReserved,
    InventoryRestocked,
    ProductCreated,
    ReservedLine,
    StockCommitted,
    StockReleased,
    StockReserved,
)

MAIN_WAREHOUSE = "main"

tables = service_tables("inventory")


class Product(Aggregate):
    """Something the shop sells. `price` is in minor units of `currency`."""

    key: ClassVar[str] = "product_id"

    product_id = models.CharField(max_length=80)
    name = models.CharField(max_length=200)
    description = models.TextField(default="", blank=True)
    price = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3)
    image_url = models.TextField(null=True, blank=True)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    class Meta(Aggregate.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "product_id"], name="inventory_product_one_per_id"
            ),
            models.CheckConstraint(
                condition=models.Q(price__gte=0), name="inventory_product_no_negative_price"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.product_id})"

    def apply(self, event: Message) -> None:
        match event:
            case ProductCreated():
                self.product_id = event.product_id
                self.name = event.name
                self.description = event.description
                self.price = event.price
                self.currency = event.currency
                self.image_url = event.image_url
                self.active = True
                self.created_at = event.created_at


class StockItem(Aggregate):
    """How many units of a product are in the warehouse, and how many of them orders hold."""

    key: ClassVar[str] = "product_id"

    product_id = models.CharField(max_length=80)
    warehouse = models.CharField(max_length=40, default=MAIN_WAREHOUSE)
    on_hand = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)

    class Meta(Aggregate.Meta):
        verbose_name = "stock of product"
        verbose_name_plural = "stock"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "product_id"], name="inventory_stockitem_one_per_product"
            ),
            models.CheckConstraint(
                condition=models.Q(reserved__gte=0), name="inventory_stockitem_no_negative_hold"
            ),
            models.CheckConstraint(
                condition=models.Q(on_hand__gte=models.F("reserved")),
                name="inventory_stockitem_no_oversell",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_id}: {self.available} of {self.on_hand} available"

    @property
    def available(self) -> int:
        """Units that a new order can have."""
        return self.on_hand - self.reserved

    def apply(self, event: Message) -> None:
        match event:
            case ProductCreated():
                self.product_id = event.product_id
            case InventoryRestocked():
                self.on_hand += event.quantity
            case InventoryAdjusted():
                self.on_hand += event.change
            case StockReserved():
                self.reserved += event.quantity
            case StockReleased():
                self.reserved -= event.quantity
            case StockCommitted():
                self.reserved -= event.quantity
                self.on_hand -= event.quantity


class Reservation(Aggregate):
    """What an order holds. One that is Released or Insufficient never holds anything again."""

    class Status(models.TextChoices):
        RESERVED = "Reserved"
        INSUFFICIENT = "Insufficient"
        RELEASED = "Released"
        COMMITTED = "Committed"

    key: ClassVar[str] = "order_id"

    order_id = models.CharField(max_length=80)
    lines = models.JSONField(default=list)
    status = models.CharField(max_length=12, choices=Status.choices)
    expires_at = models.DateTimeField(null=True)
    reason = models.TextField(default="", blank=True)

    class Meta(Aggregate.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "order_id"], name="inventory_reservation_one_per_order"
            )
        ]

    def __str__(self) -> str:
        return f"{self.order_id}: {self.status}"

    @property
    def held_lines(self) -> tuple[ReservedLine, ...]:
        """The lines as they were reserved."""
        return tuple(msgspec.convert(line, ReservedLine) for line in self.lines)

    def apply(self, event: Message) -> None:
        match event:
            case InventoryReserved():
                self.order_id = event.order_id
                self.lines = [msgspec.structs.asdict(line) for line in event.lines]
                self.status = self.Status.RESERVED.value
                self.expires_at = event.expires_at
            case InventoryInsufficient():
                self.order_id = event.order_id
                self.status = self.Status.INSUFFICIENT.value
                self.reason = ", ".join(
                    f"{short.product_id}: {short.requested} wanted, {short.available} available"
                    for short in event.shortages
                )
            case InventoryReleased():
                self.order_id = event.order_id
                self.status = self.Status.RELEASED.value
                self.reason = event.reason
            case InventoryCommitted():
                self.status = self.Status.COMMITTED.value


class InventoryLevel(ReadModel):
    """A product's stock as people see it."""

    key: ClassVar[str] = "product_id"

    product_id = models.CharField(max_length=80)
    name = models.CharField(max_length=200, default="")
    quantity = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    available = models.BigIntegerField(default=0)
    last_updated = models.DateTimeField()

    class Meta(ReadModel.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "product_id"], name="inventory_level_one_per_product"
            )
        ]
        indexes = [
            # The low-stock list reads it from the low end.
            models.Index(
                fields=["tenant", "available", "product_id"], name="inventory_level_low_stock"
            )
        ]

    def __str__(self) -> str:
        return f"{self.product_id}: {self.available} of {self.quantity} available"


class InventorySummary(ReadModel):
    """How often, and how much of, a product was asked for; releases do not take it back."""

    key: ClassVar[str] = "product_id"

    product_id = models.CharField(max_length=80)
    total_reservations = models.BigIntegerField(default=0)
    total_reserved_quantity = models.BigIntegerField(default=0)
    total_insufficient_count = models.BigIntegerField(default=0)
    last_reservation_at = models.DateTimeField(null=True)
    last_insufficient_at = models.DateTimeField(null=True)

    class Meta(ReadModel.Meta):
        verbose_name_plural = "inventory summaries"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "product_id"], name="inventory_summary_one_per_product"
            )
        ]

    def __str__(self) -> str:
        return f"{self.product_id}: reserved {self.total_reservations} times"
