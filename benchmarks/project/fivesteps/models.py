"""A small row for each step."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ecommerce.messaging.models import Row
from ecommerce.messaging.tables import service_tables

tables = service_tables("fivesteps")


class Step(Row):
    """What a step has to say about a saga."""

    key = "saga_id"

    saga_id = models.CharField(max_length=40)
    detail = models.TextField()

    class Meta(Row.Meta):
        abstract = True
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "saga_id"], name="%(class)s_once")
        ]


class Order(Step):
    """Placed."""


class Stock(Step):
    """Reserved."""


class Payment(Step):
    """Taken."""


class Shipment(Step):
    """Sent."""


class Notification(Step):
    """Told."""
