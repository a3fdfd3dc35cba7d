"""What the orders service stores.

`Order` is what the customer bought and sees, `Fulfilment` where the process of delivering it
stands (see `saga`), `CatalogueItem` what a product costs now.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal, cast

import msgspec
from django.db import models
from django.db.models import F, Q

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate, ReadModel, Row
from ecommerce.messaging.tables import service_tables
from ecommerce.values import Address

from .contracts import (
    CancelReason,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderLine,
    OrderPaid,
    OrderReserved,
    OrderShipped,
    Totals,
)

tables = service_tables("orders")

STATUSES = (
    "Pending",
    "Reserved",
    "Paid",
    "Shipped",
    "Delivered",
    "Cancelling",
    "Cancelled",
)

Step = Literal["reserving", "paying", "cancelling", "shipping", "done", "closed"]


class Order(Aggregate):
    """An order: its lines and amounts never change, its status follows the saga."""

    key = "order_id"

    order_id = models.CharField(max_length=80)
    customer_id = models.CharField(max_length=80)
    status = models.CharField(max_length=12, default="Pending")
    currency = models.CharField(max_length=3)
    subtotal = models.BigIntegerField(help_text="In minor units, as all amounts here.")
    discount = models.BigIntegerField()
    shipping = models.BigIntegerField()
    tax = models.BigIntegerField()
    total = models.BigIntegerField()
    lines = models.JSONField(default=list)
    shipping_address = models.JSONField(null=True)
    payment_method = models.CharField(max_length=80)
    payment_id = models.CharField(max_length=80, default="")
    shipment_id = models.CharField(max_length=80, default="")
    tracking_number = models.CharField(max_length=80, default="")
    cancel_reason = models.CharField(max_length=40, default="")
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "order_id"], name="orders_order_once"),
            models.CheckConstraint(
                condition=Q(total=F("subtotal") - F("discount") + F("shipping") + F("tax")),
                name="orders_order_totals_add_up",
            ),
            models.CheckConstraint(
                condition=Q(
                    subtotal__gte=0, discount__gte=0, shipping__gte=0, tax__gte=0, total__gte=0
                ),
                name="orders_order_no_negative_amount",
            ),
            models.CheckConstraint(
                condition=Q(status__in=STATUSES), name="orders_order_no_unknown_status"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=("Cancelling", "Cancelled")) | ~Q(cancel_reason=""),
                name="orders_order_no_cancel_without_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"order {self.order_id}"

    @property
    def order_lines(self) -> tuple[OrderLine, ...]:
        return msgspec.convert(self.lines, tuple[OrderLine, ...])

    @property
    def product_ids(self) -> tuple[str, ...]:
        """Each product of the order once, in the order of the lines."""
        return tuple(dict.fromkeys(line.product_id for line in self.order_lines))

    @property
    def totals(self) -> Totals:
        return Totals(
            currency=self.currency,
            subtotal=self.subtotal,
            discount=self.discount,
            shipping=self.shipping,
            tax=self.tax,
            total=self.total,
        )

    @property
    def address(self) -> Address | None:
        """Where it goes; None when the customer collects it."""
        return msgspec.convert(self.shipping_address, Address | None)

    def apply(self, event: Message) -> None:
        """Change by one event of the order's stream."""
        match event:
            case OrderCreated():
                self._place(event)
            case OrderReserved():
                self.status = "Reserved"
            case OrderPaid(payment_id=payment_id):
                self.status, self.payment_id = "Paid", payment_id
            case OrderShipped(shipment_id=shipment_id, tracking_number=tracking_number):
                self.status = "Shipped"
                self.shipment_id, self.tracking_number = shipment_id, tracking_number
            case OrderDelivered(delivered_at=delivered_at):
                self.status, self.delivered_at = "Delivered", delivered_at
            case OrderCancellationRequested(reason=reason):
                self.status, self.cancel_reason = "Cancelling", reason
            case OrderCancelled(reason=reason, cancelled_at=cancelled_at):
                self.status, self.cancel_reason = "Cancelled", reason
                self.cancelled_at = cancelled_at

    def _place(self, event: OrderCreated) -> None:
        self.order_id, self.customer_id = event.order_id, event.customer_id
        self.currency = event.totals.currency
        self.subtotal, self.discount = event.totals.subtotal, event.totals.discount
        self.shipping, self.tax = event.totals.shipping, event.totals.tax
        self.total = event.totals.total
        self.lines = [msgspec.to_builtins(line) for line in event.lines]
        self.shipping_address = msgspec.to_builtins(event.shipping_address)
        self.payment_method = event.payment_method
        self.created_at = event.created_at


class Fulfilment(Row):
    """Where the process of one order stands: the saga's row, which decides.

    An open step waits until `deadline_at`. The sweep empties that column when it sends the
    `ExpireOrder` for it. `attention` says why an operator must look, if they must.
    """

    key = "order_id"

    order_id = models.CharField(max_length=80)
    step = models.CharField(max_length=12)
    deadline_at = models.DateTimeField(null=True)
    cancel_reason = models.CharField(max_length=40, default="")
    refund_requested = models.BooleanField(default=False)
    attention = models.TextField(default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "order_id"], name="orders_fulfilment_once"),
            models.CheckConstraint(
                condition=Q(
                    step__in=("reserving", "paying", "cancelling", "shipping", "done", "closed")
                ),
                name="orders_fulfilment_no_unknown_step",
            ),
            models.CheckConstraint(
                condition=~Q(step__in=("done", "closed")) | Q(deadline_at=None),
                name="orders_fulfilment_no_deadline_at_the_end",
            ),
            models.CheckConstraint(
                condition=~Q(step__in=("cancelling", "closed")) | ~Q(cancel_reason=""),
                name="orders_fulfilment_no_cancel_without_reason",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["deadline_at"],
                condition=Q(deadline_at__isnull=False),
                name="orders_fulfilment_due",
            )
        ]

    def __str__(self) -> str:
        return f"fulfilment of {self.order_id}: {self.step}"

    def wait(self, step: Step, until: datetime) -> None:
        """Go on to a step that must be answered until then."""
        self.step, self.deadline_at = step, until

    def finish(self) -> None:
        """The goods are on their way: nothing is awaited any more."""
        self.step, self.deadline_at, self.attention = "done", None, ""

    def close(self, reason: str) -> None:
        """The order is cancelled: what still arrives is compensated."""
        self.step, self.deadline_at, self.attention = "closed", None, ""
        self.cancel_reason = reason

    @property
    def reason(self) -> CancelReason:
        """Why the order is cancelled; only of one that is."""
        return cast(CancelReason, self.cancel_reason)

    def stall(self, attention: str) -> None:
        """Stay in this step without a deadline, until an operator has looked."""
        self.deadline_at, self.attention = None, attention

    def has_outlived(self, deadline: datetime) -> bool:
        """Whether this deadline still counts: the step that it was for has no newer one."""
        return self.deadline_at is None or self.deadline_at == deadline


class CatalogueItem(ReadModel):
    """What a product is called and costs, from inventory's events."""

    key = "product_id"

    product_id = models.CharField(max_length=80)
    name = models.CharField(max_length=200)
    price = models.BigIntegerField(help_text="In minor units.")
    currency = models.CharField(max_length=3)
    active = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "product_id"], name="orders_catalogueitem_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.product_id} {self.name}"
