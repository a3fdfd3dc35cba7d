"""Telling customers about their orders.

    OrderCreated      → confirmation by e-mail
    PaymentProcessed  → receipt by e-mail
    ShipmentCreated   → tracking number by SMS

Who the customer is, only OrderCreated tells. Payments and shipping may be heard before it: what
they have to tell then waits, and goes out with the confirmation. So whatever the order between the
three sources, the same notifications are sent.

The contact is looked up when a notification is prepared, which is when both its cause and the
order are known. If the customer has left no address by then, it is Undeliverable and stays so; a
contact saved later serves the notifications after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import msgspec
from django.template import TemplateSyntaxError
from django.template.exceptions import TemplateDoesNotExist

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Invalid, NotFound, Retry
from ecommerce.messaging.registry import Result, Rows, handles, performs
from ecommerce.values import Money
from orders.contracts import OrderCreated, OrderLine
from payments.contracts import PaymentProcessed
from shipping.contracts import ShipmentCreated

from .contracts import (
    Details,
    NotificationFailed,
    NotificationHeld,
    NotificationQueued,
    NotificationSent,
    NotificationType,
    NotificationUndeliverable,
    PrepareNotification,
    ReceiptDetails,
    RecordNotification,
    SaveTemplate,
    SendNotification,
    ShipmentDetails,
    TemplateSaved,
)
from .gateways import ProviderRefused, ProviderUnavailable, provider
from .models import (
    CHANNELS,
    PARTS,
    TEMPLATES,
    Contact,
    Notification,
    Template,
    compile_source,
    fill,
    render,
)


def _all_of_order(event: OrderCreated | PaymentProcessed | ShipmentCreated) -> list[str]:
    return [Notification.id_of(event.order_id, kind) for kind in CHANNELS]


@handles(notifications=_all_of_order, own=lambda _: "order_confirmation.email")
def confirm_order(
    event: OrderCreated,
    notifications: Rows[Notification],
    contact: Contact | None,
    own: Template | None,
) -> list[Result]:
    """Confirm the order, and prepare what was heard of it before the order itself."""
    if Notification.id_of(event.order_id, "order_confirmation") in notifications:
        return []
    confirmation = Notification()
    return [
        confirmation,
        *_tell(
            confirmation,
            event.order_id,
            event.customer_id,
            "order_confirmation",
            contact,
            own,
            _order_values(event),
        ),
        *(
            PrepareNotification(
                notification_id=waiting.notification_id,
                order_id=event.order_id,
                customer_id=event.customer_id,
                notification_type=kind,
                details=waiting.held,
            )
            for kind in CHANNELS
            if (waiting := notifications.get(Notification.id_of(event.order_id, kind)))
            and waiting.is_waiting
        ),
    ]


@handles(notifications=_all_of_order)
def send_receipt(event: PaymentProcessed, notifications: Rows[Notification]) -> list[Result]:
    """Send a receipt for the captured payment."""
    details = ReceiptDetails(
        amount=event.amount,
        transaction_id=event.transaction_id,
        paid_at=event.processed_at.astimezone(UTC),
    )
    return _prepare_or_hold(event.order_id, "payment_receipt", details, notifications)


@handles(notifications=_all_of_order)
def announce_shipment(event: ShipmentCreated, notifications: Rows[Notification]) -> list[Result]:
    """Tell the customer the tracking number."""
    details = ShipmentDetails(
        carrier=event.carrier,
        tracking_number=event.tracking_number,
        estimated_delivery=event.estimated_delivery,
        collection=event.collection,
    )
    return _prepare_or_hold(event.order_id, "shipment", details, notifications)


@handles(own=lambda command: f"{command.notification_type}.{CHANNELS[command.notification_type]}")
def prepare_notification(
    command: PrepareNotification,
    notification: Notification | None,
    contact: Contact | None,
    own: Template | None,
) -> list[Result]:
    """Render and queue a notification about an order whose customer is known."""
    if notification is not None and not notification.is_waiting:
        return []
    row = notification or Notification()
    results = _tell(
        row,
        command.order_id,
        command.customer_id,
        command.notification_type,
        contact,
        own,
        {"order_id": command.order_id} | msgspec.structs.asdict(command.details),
    )
    return results if notification else [row, *results]


@performs
def send_notification(command: SendNotification, context: Context) -> RecordNotification:
    """Hand a notification to its channel's provider, under a key that never changes."""
    key = f"{context.tenant}/{command.notification_id}"
    try:
        provider_id = provider(command.channel).send(
            key, command.recipient, command.subject, command.text, command.html
        )
    except ProviderRefused as refusal:
        return RecordNotification(
            order_id=command.order_id,
            notification_id=command.notification_id,
            outcome="refused",
            error=str(refusal),
        )
    except ProviderUnavailable as fault:
        raise Retry(str(fault)) from fault
    return RecordNotification(
        order_id=command.order_id,
        notification_id=command.notification_id,
        outcome="sent",
        provider_id=provider_id,
    )


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
        if source and part not in PARTS[channel]:
            raise Invalid(f"{command.template_id} has no {part}", field=part)
        try:
            fill(part, compile_source(source), {})
        except (TemplateSyntaxError, TemplateDoesNotExist) as error:
            raise Invalid(f"the template cannot be rendered: {error}", field=part) from error
    return TemplateSaved(
        template_id=command.template_id,
        subject=command.subject,
        text=command.text,
        html=command.html,
    )


def _prepare_or_hold(
    order_id: str, kind: NotificationType, details: Details, notifications: Rows[Notification]
) -> list[Result]:
    notification_id = Notification.id_of(order_id, kind)
    if notification_id in notifications:
        return []
    # The confirmation's row, whatever became of it, knows the order's customer.
    confirmation = notifications.get(Notification.id_of(order_id, "order_confirmation"))
    if confirmation is None:
        held = Notification()
        event = NotificationHeld(
            notification_id=notification_id,
            order_id=order_id,
            notification_type=kind,
            channel=CHANNELS[kind],
            details=details,
        )
        return [held, held.record(event)]
    return [
        PrepareNotification(
            notification_id=notification_id,
            order_id=order_id,
            customer_id=confirmation.customer_id,
            notification_type=kind,
            details=details,
        )
    ]


def _tell(
    notification: Notification,
    order_id: str,
    customer_id: str,
    kind: NotificationType,
    contact: Contact | None,
    own: Template | None,
    values: Mapping[str, Any],
) -> list[Result]:
    channel = CHANNELS[kind]
    about: dict[str, Any] = {
        "notification_id": Notification.id_of(order_id, kind),
        "order_id": order_id,
        "customer_id": customer_id,
    }
    recipient = contact.recipient(channel) if contact else ""
    if contact is None or not recipient:
        wanted = "e-mail address" if channel == "email" else "phone number"
        error = f"No {wanted} is known for customer {customer_id}."
        undeliverable = NotificationUndeliverable(
            **about, notification_type=kind, channel=channel, error=error
        )
        return [notification.record(undeliverable)]
    texts = render(f"{kind}.{channel}", own, {"name": contact.name, **values})
    about |= {
        "channel": channel,
        "recipient": recipient,
        "subject": texts.subject,
        "text": texts.text,
    }
    return [
        notification.record(NotificationQueued(**about, notification_type=kind)),
        SendNotification(**about, html=texts.html),
    ]


def _order_values(event: OrderCreated) -> dict[str, Any]:
    currency = event.totals.currency
    totals = {
        name: Money(getattr(event.totals, name), currency)
        for name in ("subtotal", "discount", "shipping", "tax", "total")
    }
    return {
        "order_id": event.order_id,
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
