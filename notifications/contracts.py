"""Messages that the notifications service owns.

Its events are ordered by the notification they are about, its commands by the order, so that they
keep their place behind the order's other messages.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ecommerce.messaging.messages import Message, Personal, command, event

Channel = Literal["email", "sms"]
NotificationType = Literal["order_confirmation", "payment_receipt", "shipment"]


@command(stream="order_id", person="customer_id", tags=("mail",))
class SendNotification(Message):
    """Effect: hand a rendered notification to the channel's provider.

    `notification_id`, within its tenant, is the idempotency key at the provider.
    """

    order_id: str
    customer_id: str
    notification_id: str
    channel: Channel
    recipient: Personal[str]
    subject: Personal[str]
    text: Personal[str]
    html: Personal[str] = ""


@command(stream="order_id")
class RecordNotification(Message):
    """What the provider said to `SendNotification`."""

    order_id: str
    notification_id: str
    outcome: Literal["sent", "refused"]
    provider_id: str = ""
    error: str = ""


@command(stream="template_id")
class SaveTemplate(Message):
    """Set a tenant's own texts for `template_id`, such as `payment_receipt.email`.

    They are Jinja2 templates; an empty part means the shipped text. Refused with NotFound for an
    unknown template, with Invalid for a part that cannot be rendered or that the channel lacks.
    """

    template_id: str
    subject: str = ""
    text: str = ""
    html: str = ""


@event(stream="notification_id", person="customer_id")
class NotificationQueued(Message):
    """A notification was rendered and goes to the channel's provider."""

    notification_id: str
    order_id: str
    customer_id: str
    notification_type: NotificationType
    channel: Channel
    recipient: Personal[str]
    subject: Personal[str]
    text: Personal[str]


@event(stream="notification_id")
class NotificationUndeliverable(Message):
    """Nobody knows where to send the notification; it will not be sent."""

    notification_id: str
    order_id: str
    customer_id: str
    notification_type: NotificationType
    channel: Channel
    error: str


@event(stream="notification_id")
class NotificationUnwanted(Message):
    """The customer does not want to be told this on this channel; it will not be sent."""

    notification_id: str
    order_id: str
    customer_id: str
    notification_type: NotificationType
    channel: Channel


@event(stream="notification_id")
class NotificationSent(Message):
    """The provider accepted the notification."""

    notification_id: str
    order_id: str
    notification_type: NotificationType
    channel: Channel
    provider_id: str
    sent_at: datetime


@event(stream="notification_id")
class NotificationFailed(Message):
    """The provider refused the notification for good."""

    notification_id: str
    order_id: str
    notification_type: NotificationType
    channel: Channel
    error: str


@event(stream="template_id")
class TemplateSaved(Message):
    """A tenant's own texts; an empty part means the shipped one."""

    template_id: str
    subject: str
    text: str
    html: str
