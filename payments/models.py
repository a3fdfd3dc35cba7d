"""Payments' tables: one payment per order, and the ledger of the simulated gateway."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate
from ecommerce.messaging.tables import service_tables
from ecommerce.simulation import Trouble
from ecommerce.values import Money

from .contracts import (
    PaymentCancellationRequested,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PaymentRequested,
    PaymentVoided,
)

tables = service_tables("payments")


class Payment(Aggregate):
    """An order's payment. A Voided one may never have begun: then its amount is zero.

    Pending → Captured → Cancelling → Refunded
    Pending → Cancelling → Voided or Refunded
    Pending → Failed → Voided
    """

    class Status(models.TextChoices):
        PENDING = "Pending"
        CAPTURED = "Captured"
        FAILED = "Failed"
        CANCELLING = "Cancelling"
        VOIDED = "Voided"
        REFUNDED = "Refunded"

    key: ClassVar[str] = "order_id"

    order_id = models.CharField(max_length=80)
    payment_id = models.CharField(max_length=90)
    customer_id = models.CharField(max_length=80, default="", blank=True)
    amount = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, default="", blank=True)
    method = models.TextField(default="", blank=True)
    attempt = models.IntegerField(default=0)
    status = models.CharField(max_length=12, choices=Status.choices)
    transaction_id = models.CharField(max_length=120, default="", blank=True)
    refund_id = models.CharField(max_length=120, default="", blank=True)
    code = models.CharField(max_length=80, default="", blank=True)
    reason = models.TextField(default="", blank=True)
    processed_at = models.DateTimeField(null=True)
    refunded_at = models.DateTimeField(null=True)

    class Meta(Aggregate.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "order_id"], name="payments_payment_one_per_order"
            ),
            models.CheckConstraint(
                condition=models.Q(amount__gte=0), name="payments_payment_no_negative_amount"
            ),
            models.CheckConstraint(
                condition=~models.Q(status="Captured") | models.Q(processed_at__isnull=False),
                name="payments_payment_no_capture_without_time",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="Refunded")
                | (models.Q(refunded_at__isnull=False) & ~models.Q(refund_id="")),
                name="payments_payment_no_refund_without_id",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.payment_id}: {self.status}"

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def charge_key(self) -> str:
        """The gateway knows this attempt's charge by it, however often it is sent."""
        return f"{self.tenant}/{self.order_id}/charge/{self.attempt}"

    @property
    def refund_key(self) -> str:
        """The gateway knows the refund of this attempt by it, whichever way it is asked for."""
        return f"{self.tenant}/{self.order_id}/refund/{self.attempt}"

    def apply(self, event: Message) -> None:
        match event:
            case PaymentRequested():
                self.order_id = event.order_id
                self.payment_id = event.payment_id
                self.customer_id = event.customer_id
                self.amount = event.amount.amount
                self.currency = event.amount.currency
                self.method = event.method
                self.attempt = event.attempt
                self.status = self.Status.PENDING.value
            case PaymentProcessed():
                self.status = self.Status.CAPTURED.value
                self.transaction_id = event.transaction_id
                self.processed_at = event.processed_at
            case PaymentFailed():
                self.status = self.Status.FAILED.value
                self.code = event.code
                self.reason = event.reason
            case PaymentCancellationRequested():
                self.status = self.Status.CANCELLING.value
                self.reason = event.reason
            case PaymentVoided():
                self.order_id = event.order_id
                self.payment_id = event.payment_id
                self.status = self.Status.VOIDED.value
            case PaymentRefunded():
                self.status = self.Status.REFUNDED.value
                self.transaction_id = event.transaction_id
                self.refund_id = event.refund_id
                self.refunded_at = event.refunded_at


class SimulatedCharge(models.Model):
    """A line in the simulated gateway's own books; no part of what payments knows.

    A `pending` one was asked for and has not been answered. A `voided` one takes no money, even
    if it is asked for afterwards.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        CAPTURED = "captured"
        DECLINED = "declined"
        VOIDED = "voided"
        REFUNDED = "refunded"

    key = models.CharField(max_length=255, primary_key=True)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    method = models.TextField(default="", blank=True)
    state = models.CharField(max_length=12, choices=State.choices)
    # Made from the key. A second unique index would let two calls with one key at the same time
    # collide there, where ON CONFLICT (key) does not catch it.
    transaction_id = models.CharField(max_length=40, db_index=True)
    code = models.CharField(max_length=40, default="", blank=True)
    refund_key = models.CharField(max_length=255, null=True, blank=True, unique=True)
    refund_id = models.CharField(max_length=40, default="", blank=True)
    calls = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount__gt=0), name="payments_simulated_no_empty_charge"
            ),
            models.CheckConstraint(
                condition=models.Q(state="refunded", refund_key__isnull=False)
                | (~models.Q(state="refunded") & models.Q(refund_key__isnull=True)),
                name="payments_simulated_no_refund_without_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.state}"


class SimulatedTrouble(Trouble):
    """What the simulated gateway does wrong just now."""
