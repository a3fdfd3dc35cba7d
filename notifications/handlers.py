"""Telling customers about their orders.

    OrderCreated      → confirmation by e-mail
    PaymentProcessed  → receipt by e-mail
    ShipmentCreated   → tracking number by SMS

Each event names the customer, so the notifications are the same whatever their order. The contact is
looked up when a notification is prepared. If the customer has left no address by then, it is
Undeliverable and stays so; a contact saved later serves the notifications after it.

What the customer does not want is Unwanted, and costs nothing. In their quiet hours a text message
is queued, and sent when these are over. The confirmation of an order is always sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Invalid, NotFound, Retry
from ecommerce.messaging.registry import Call, Later, Result, handles, performs
from ecommerce.values import Money
from orders.contracts import OrderCreated, OrderLine
from payments.contracts import PaymentProcessed
from shipping.contracts import ShipmentCreated

from .contracts import (
    NotificationFailed,
    NotificationQueued,
    NotificationSent,
    NotificationType,
    NotificationUndeliverable,
    NotificationUnwanted,
    RecordNotification,
    SaveTemplate,
    SendNotification,
    TemplateSaved,
)
from .gateways import Answer, Posting, ProviderError, ProviderUnavailable, provider
from .models import CHANNELS, PARTS, TEMPLATES, Contact, Notification, Template
from .texts import Unrenderable, check, render


def _id(kind: NotificationType) -> Callable[[Any], str]:
    return lambda event: Notification.id_of(event.order_id, kind)


def _template(kind: NotificationType) -> Callable[[Any], str]:
    return lambda _: f"{kind}.{CHANNELS[kind]}"


@handles(notification=_id("order_confirmation"), own=_template("order_confirmation"))
def confirm_order(
    event: OrderCreated,
    notification: Notification | None,
    contact: Contact | None,
    own: Template | None,
    context: Context,
) -> list[Result]:
    """Confirm the order."""
    if notification is not None:
        return []
    return _tell("order_confirmation", event, contact, own, _order_values(event), context)


@handles(notification=_id("payment_receipt"), own=_template("payment_receipt"))
def send_receipt(
    event: PaymentProcessed,
    notification: Notification | None,
    contact: Contact | None,
    own: Template | None,
    context: Context,
) -> list[Result]:
    """Send a receipt for the captured payment."""
    if notification is not None:
        return []
    values = {
        "amount": event.amount,
        "transaction_id": event.transaction_id,
        "paid_at": event.processed_at.astimezone(UTC),
    }
    return _tell("payment_receipt", event, contact, own, values, context)


@handles(notification=_id("shipment"), own=_template("shipment"))
def announce_shipment(
    event: ShipmentCreated,
    notification: Notification | None,
    contact: Contact | None,
    own: Template | None,
    context: Context,
) -> list[Result]:
    """Tell the customer the tracking number."""
    if notification is not None:
        return []
    values = {
        "carrier": event.carrier,
        "tracking_number": event.tracking_number,
        "estimated_delivery": event.estimated_delivery,
        "collection": event.collection,
    }
    return _tell("shipment", event, contact, own, values, context)


@performs
def send_notification(
    calls: list[Call[SendNotification]],
) -> list[RecordNotification | Retry]:
    """Hand notifications to their channels' providers, each under a key that never changes."""
    answers: dict[str, Answer] = {}
    for channel in sorted({call.message.channel for call in calls}):
        postings = [_posting(call) for call in calls if call.message.channel == channel]
        sent = provider(channel).send(postings)
        answers |= {posting.key: answer for posting, answer in zip(postings, sent, strict=True)}
    return [_answered(call.message, answers[_key(call)]) for call in calls]


@handles
def record_notification(
    command: RecordNotification, notification: Notification | None, context: Context
) -> list[Result]:
    """Note the provider's answer, the first one only."""
    if notification is None or notification.status != Notification.Status.QUEUED:
        return []
    about: dict[str, Any] = {
        "notification_id": notification.notification_id,
        "order_id": notification.order_id,
        "notification_type": notification.notification_type,
        "channel": notification.channel,
    }
    if command.outcome == "refused":
        return [notification.record(NotificationFailed(**about, error=command.error))]
    sent = NotificationSent(**about, provider_id=command.provider_id, sent_at=context.now)
    return [notification.record(sent)]


@handles
def save_template(command: SaveTemplate) -> TemplateSaved:
    """Take a tenant's own texts, if they can be rendered."""
    channel = TEMPLATES.get(command.template_id)
    if channel is None:
        raise NotFound(
            f"there is no template {command.template_id!r}; there are {', '.join(TEMPLATES)}"
        )
    for part in ("subject", "text", "html"):
        source = getattr(command, part)
        if not source:
            continue
        if part not in PARTS[channel]:
            raise Invalid(f"{command.template_id} has no {part}", field=part)
        try:
            check(command.template_id, part, source)
        except Unrenderable as error:
            raise Invalid(str(error), field=part) from error
    return TemplateSaved(
        template_id=command.template_id,
        subject=command.subject,
        text=command.text,
        html=command.html,
    )


def _tell(
    kind: NotificationType,
    event: OrderCreated | PaymentProcessed | ShipmentCreated,
    contact: Contact | None,
    own: Template | None,
    values: Mapping[str, Any],
    context: Context,
) -> list[Result]:
    notification, channel = Notification(), CHANNELS[kind]
    about: dict[str, Any] = {
        "notification_id": Notification.id_of(event.order_id, kind),
        "order_id": event.order_id,
        "customer_id": event.customer_id,
        "channel": channel,
    }
    if contact is not None and contact.does_without(kind):
        unwanted = NotificationUnwanted(**about, notification_type=kind)
        return [notification, notification.record(unwanted)]
    recipient = contact.recipient(channel) if contact else ""
    if contact is None or not recipient:
        wanted = "e-mail address" if channel == "email" else "phone number"
        error = f"No {wanted} is known for customer {event.customer_id}."
        undeliverable = NotificationUndeliverable(**about, notification_type=kind, error=error)
        return [notification, notification.record(undeliverable)]
    values = {"name": contact.name, "order_id": event.order_id, **values}
    texts = render(f"{kind}.{channel}", own, values)
    about |= {"recipient": recipient, "subject": texts.subject, "text": texts.text}
    queued = notification.record(NotificationQueued(**about, notification_type=kind))
    send = SendNotification(**about, html=texts.html)
    quiet_until = contact.quiet_until(context.now) if channel == "sms" else None
    return [notification, queued, Later(send, quiet_until) if quiet_until else send]


def _posting(call: Call[SendNotification]) -> Posting:
    told = call.message
    return Posting(_key(call), told.recipient, told.subject, told.text, told.html)


def _key(call: Call[SendNotification]) -> str:
    return f"{call.context.tenant}/{call.message.notification_id}"


def _answered(command: SendNotification, answer: Answer) -> RecordNotification | Retry:
    about = {"order_id": command.order_id, "notification_id": command.notification_id}
    if isinstance(answer, ProviderUnavailable):
        return Retry(str(answer))
    if isinstance(answer, ProviderError):
        return RecordNotification(**about, outcome="refused", error=str(answer))
    return RecordNotification(**about, outcome="sent", provider_id=answer)


def _order_values(event: OrderCreated) -> dict[str, Any]:
    currency = event.totals.currency
    totals = {
        name: Money(getattr(event.totals, name), currency)
        for name in ("subtotal", "discount", "shipping", "tax", "total")
    }
    return {
        "ordered_at": event.created_at,
        "lines": [_line_values(line, currency) for line in event.lines],
        "address": event.shipping_address,
        "has_extras": event.totals.total != event.totals.subtotal,
        **totals,
    }


def _line_values(line: OrderLine, currency: str) -> dict[str, Any]:
    return {
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": Money(line.unit_price, currency),
        "total": Money(line.line_total, currency),
    }
