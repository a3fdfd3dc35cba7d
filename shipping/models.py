"""Shipping's tables: the shipment of each order, and the ledger of the simulated carrier.

The ledger plays a system outside: only the simulated adapter in `gateways.py` touches it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from django.db import models

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate
from ecommerce.messaging.tables import service_tables
from ecommerce.simulation import Trouble

from .contracts import (
    ShipmentCreated,
    ShipmentDelivered,
    ShipmentFailed,
    ShipmentRequested,
    ShipmentStatusChanged,
    TrackingStatus,
)

tables = service_tables("shipping")


class Shipment(Aggregate):
    """The goods of one order on their way. Money is in minor units of `currency`."""

    class Status(models.TextChoices):
        """Requested → Created → InTransit → Exception → Delivered; or Requested → Failed."""

        REQUESTED = "Requested"
        CREATED = "Created"
        IN_TRANSIT = "InTransit", "In transit"
        EXCEPTION = "Exception"
        DELIVERED = "Delivered"
        FAILED = "Failed"

    key = "order_id"

    order_id = models.CharField(max_length=80)
    shipment_id = models.CharField(max_length=90)
    customer_id = models.CharField(max_length=80)
    status = models.CharField(max_length=12, choices=Status.choices)
    service_level = models.CharField(max_length=12)
    parcels = models.JSONField()
    address = models.JSONField(null=True)
    carrier = models.CharField(max_length=60, default="")
    tracking_number = models.CharField(max_length=40, default="")
    label_url = models.CharField(max_length=300, default="")
    cost = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3, default="")
    estimated_delivery = models.DateField(null=True)
    location = models.CharField(max_length=200, default="")
    delivered_at = models.DateTimeField(null=True)
    reason = models.TextField(default="")

    class Meta(Aggregate.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "order_id"], name="shipment_one_per_order"),
            models.UniqueConstraint(
                fields=["tenant", "tracking_number"],
                condition=~models.Q(tracking_number=""),
                name="shipment_tracking_number_used_once",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["Requested", "Failed"])
                | (~models.Q(tracking_number="") & models.Q(cost__isnull=False)),
                name="shipment_under_way_has_a_label",
            ),
            models.CheckConstraint(
                condition=models.Q(status="Delivered", delivered_at__isnull=False)
                | (~models.Q(status="Delivered") & models.Q(delivered_at__isnull=True)),
                name="shipment_delivered_has_a_time",
            ),
            models.CheckConstraint(
                condition=models.Q(cost__isnull=True) | models.Q(cost__gte=0),
                name="shipment_cost_not_negative",
            ),
        ]
        indexes = [models.Index(fields=["tenant", "status"], name="shipment_by_status")]

    def __str__(self) -> str:
        return f"{self.shipment_id} ({self.status})"

    @property
    def is_collection(self) -> bool:
        """Whether the customer fetches the goods at the warehouse."""
        return self.address is None

    def is_news(self, status: TrackingStatus) -> bool:
        """Whether a carrier's report moves the shipment forward; it never moves back."""
        return self.is_under_way and _PROGRESS[status] > _PROGRESS[self.status]

    @property
    def is_under_way(self) -> bool:
        """Whether the carrier has the goods, or may still have them."""
        return self.status in (
            self.Status.CREATED,
            self.Status.IN_TRANSIT,
            self.Status.EXCEPTION,
        )

    def apply(self, event: Message) -> None:
        match event:
            case ShipmentRequested():
                self.order_id = event.order_id
                self.shipment_id = event.shipment_id
                self.customer_id = event.customer_id
                self.service_level = event.service_level
                self.parcels = _plain(event.parcels)
                self.address = _plain(event.address)
                self.status = self.Status.REQUESTED
            case ShipmentCreated():
                self.carrier = event.carrier
                self.tracking_number = event.tracking_number
                self.label_url = event.label_url
                self.cost = event.cost.amount
                self.currency = event.cost.currency
                self.estimated_delivery = event.estimated_delivery
                self.status = self.Status.CREATED
            case ShipmentFailed():
                self.reason = event.reason
                self.status = self.Status.FAILED
            case ShipmentStatusChanged():
                self.location = event.location
                self.status = self.Status(event.status)
            case ShipmentDelivered():
                self.delivered_at = event.delivered_at
                self.status = self.Status.DELIVERED


def _plain(value: object) -> Any:
    """The value as it comes back from a JSON column: `to_builtins` would leave tuples."""
    return msgspec.json.decode(msgspec.json.encode(value))


_PROGRESS = {"Created": 1, "InTransit": 2, "Exception": 3, "Delivered": 4}


class SimulatedLabel(models.Model):
    """A label that the simulated carrier has sold. `reference` is what the shop calls it."""

    key = models.CharField(max_length=200, unique=True)
    reference = models.CharField(max_length=200)
    # Made from the key. A second unique index would let two calls with one key at the same time
    # collide there, where ON CONFLICT (key) does not catch it.
    tracking_number = models.CharField(max_length=40, db_index=True)
    service_level = models.CharField(max_length=12)
    city = models.CharField(max_length=200, default="")
    cost = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    shipped_at = models.DateTimeField()
    estimated_delivery = models.DateField()

    def __str__(self) -> str:
        return self.tracking_number


class SimulatedFault(models.Model):
    """How often the simulated carrier has misbehaved about one thing, so that it can stop."""

    key = models.CharField(max_length=220, unique=True)
    times = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.key}: {self.times}"


class SimulatedTrouble(Trouble):
    """What the simulated carrier does wrong just now."""
