"""Notifications' tables.

`Mail` and `MailFault` play a system outside: only the mailbox adapter in `gateways.py` writes them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import models
from django.db.models.functions import Now

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate, ReadModel
from ecommerce.messaging.tables import service_tables

from .contracts import (
    Channel,
    NotificationFailed,
    NotificationQueued,
    NotificationSent,
    NotificationType,
    NotificationUndeliverable,
    NotificationUnwanted,
)

tables = service_tables("notifications")

CHANNELS: dict[NotificationType, Channel] = {
    "order_confirmation": "email",
    "payment_receipt": "email",
    "shipment": "sms",
}
"""By which channel a customer is told what."""

PARTS: dict[Channel, tuple[str, ...]] = {"email": ("subject", "text", "html"), "sms": ("text",)}
"""What a text consists of on each channel."""

TEMPLATES = {f"{kind}.{channel}": channel for kind, channel in CHANNELS.items()}
"""The channel of every template id."""


class Notification(Aggregate):
    """One thing told to one customer on one channel."""

    class Status(models.TextChoices):
        """Queued → Sent or Failed; or Undeliverable or Unwanted from the beginning."""

        QUEUED = "Queued"
        SENT = "Sent"
        FAILED = "Failed"
        UNDELIVERABLE = "Undeliverable"
        UNWANTED = "Unwanted"

    key = "notification_id"

    notification_id = models.CharField(max_length=100)
    order_id = models.CharField(max_length=80)
    customer_id = models.CharField(max_length=80)
    notification_type = models.CharField(max_length=20)
    channel = models.CharField(max_length=8)
    recipient = models.CharField(max_length=254, default="")
    subject = models.CharField(max_length=300, default="")
    text = models.TextField(default="")
    status = models.CharField(max_length=13, choices=Status.choices)
    provider_id = models.CharField(max_length=200, default="")
    error = models.TextField(default="")
    sent_at = models.DateTimeField(null=True)

    class Meta(Aggregate.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "notification_id"], name="notification_told_once"
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=["Queued", "Sent", "Failed"])
                | ~models.Q(recipient=""),
                name="notification_not_to_nobody",
            ),
            models.CheckConstraint(
                condition=models.Q(status="Sent", sent_at__isnull=False)
                | (~models.Q(status="Sent") & models.Q(sent_at__isnull=True)),
                name="notification_sent_has_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "order_id"], name="notification_by_order"),
            models.Index(fields=["tenant", "status"], name="notification_by_status"),
        ]

    def __str__(self) -> str:
        return f"{self.notification_id} ({self.status})"

    @staticmethod
    def id_of(order_id: str, notification_type: NotificationType) -> str:
        """The id of what a customer is told about an order: one for each type and channel."""
        return f"{order_id}-{notification_type}-{CHANNELS[notification_type]}"

    def apply(self, event: Message) -> None:
        match event:
            case NotificationQueued():
                self._identify(event)
                self.recipient = event.recipient
                self.subject = event.subject
                self.text = event.text
                self.status = self.Status.QUEUED
            case NotificationUndeliverable():
                self._identify(event)
                self.error = event.error
                self.status = self.Status.UNDELIVERABLE
            case NotificationUnwanted():
                self._identify(event)
                self.status = self.Status.UNWANTED
            case NotificationSent():
                self.provider_id = event.provider_id
                self.sent_at = event.sent_at
                self.status = self.Status.SENT
            case NotificationFailed():
                self.error = event.error
                self.status = self.Status.FAILED

    def _identify(
        self, event: NotificationQueued | NotificationUndeliverable | NotificationUnwanted
    ) -> None:
        self.notification_id = event.notification_id
        self.order_id = event.order_id
        self.customer_id = event.customer_id
        self.notification_type = event.notification_type
        self.channel = event.channel


class Contact(ReadModel):
    """How a customer can be reached, and what they want to be told, as the customers service says."""

    key = "customer_id"

    customer_id = models.CharField(max_length=80)
    name = models.CharField(max_length=200)
    email = models.CharField(max_length=254)
    phone = models.CharField(max_length=40)
    unwanted = models.JSONField(default=list)
    quiet = models.JSONField(null=True)

    class Meta(ReadModel.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "customer_id"], name="contact_one_a_customer")
        ]

    def __str__(self) -> str:
        return self.customer_id

    def recipient(self, channel: Channel) -> str:
        """The address on a channel; empty when it is not known."""
        return self.email if channel == "email" else self.phone

    def does_without(self, kind: NotificationType) -> bool:
        """Whether the customer does not want to be told this."""
        return f"{kind}.{CHANNELS[kind]}" in self.unwanted

    def quiet_until(self, now: datetime) -> datetime | None:
        """When the quiet hours end that it is in, if it is; `now` is an aware instant."""
        if self.quiet is None:
            return None
        local = now.astimezone(ZoneInfo(self.quiet["zone"]))
        begin, end = self.quiet["begin"], self.quiet["end"]
        if (local.hour - begin) % 24 >= (end - begin) % 24:
            return None
        until = local.replace(hour=end, minute=0, second=0, microsecond=0)
        if until <= local:
            until += timedelta(days=1)
        return until.astimezone(UTC)


class Template(ReadModel):
    """A tenant's own texts, in place of the shipped files; an empty part leaves the file's."""

    key = "template_id"

    template_id = models.CharField(max_length=40)
    subject = models.TextField()
    text = models.TextField()
    html = models.TextField()

    class Meta(ReadModel.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "template_id"], name="template_one_per_id")
        ]

    def __str__(self) -> str:
        return self.template_id


class Mail(models.Model):
    """What the mailbox, which stands for the providers, was given to deliver."""

    key = models.CharField(max_length=200, unique=True)
    channel = models.CharField(max_length=8)
    recipient = models.CharField(max_length=254)
    subject = models.CharField(max_length=300)
    text = models.TextField()
    html = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.channel} to {self.recipient}"


class MailFault(models.Model):
    """How often the mailbox has misbehaved about one key, so that it can stop."""

    key = models.CharField(max_length=200, unique=True)
    times = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.key}: {self.times}"
