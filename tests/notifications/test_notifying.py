"""What customers are told, one message at a time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Invalid, NotFound
from ecommerce.messaging.messages import Message
from ecommerce.values import Address, Money
from notifications.contracts import (
    NotificationFailed,
    NotificationQueued,
    NotificationSent,
    NotificationUndeliverable,
    RecordNotification,
    SaveTemplate,
    SendNotification,
    TemplateSaved,
)
from notifications.handlers import (
    announce_shipment,
    confirm_order,
    record_notification,
    save_template,
    send_receipt,
)
from notifications.models import Contact, Notification, Template
from notifications.texts import EXAMPLES
from orders.contracts import OrderCreated, OrderLine, Totals
from payments.contracts import PaymentProcessed
from shipping.contracts import ShipmentCreated

PAID_AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ORDERED = OrderCreated(
    order_id="o1",
    customer_id="cust-123",
    lines=(OrderLine("1", "prod-456", "Widget", 2, 1999),),
    totals=Totals("USD", 3998, 0, 0, 0, 3998),
    payment_method="card_approved",
    created_at=datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5))),
    shipping_address=Address("1 Main Street", "Springfield", "IL", "62701", "US"),
)
PAID = PaymentProcessed(
    order_id="o1",
    payment_id="pay-o1",
    customer_id="cust-123",
    transaction_id="txn_1",
    amount=Money(3998, "USD"),
    method="card_approved",
    processed_at=PAID_AT,
)
SHIPPED = ShipmentCreated(
    order_id="o1",
    shipment_id="ship-o1",
    customer_id="cust-123",
    carrier="SwiftParcel",
    tracking_number="SP1",
    label_url="",
    cost=Money(495, "USD"),
    estimated_delivery=date(2026, 3, 6),
)
CONFIRMATION_ID = "o1-order_confirmation-email"
RECEIPT_ID = "o1-payment_receipt-email"
SHIPMENT_ID = "o1-shipment-sms"

CONFIRMATION_TEXT = """\
Hello Ada,

Thank you for your order. Here is what we received on 1 March 2026:

Order o1

  2 x Widget at 19.99 USD: 39.98 USD

  Total: 39.98 USD

We will send it to:

  1 Main Street
  Springfield, IL 62701
  US

You will hear from us again when your payment has arrived and when the parcel is on its way.

Thank you for shopping with us."""

QUEUED = NotificationQueued(
    notification_id=RECEIPT_ID,
    order_id="o1",
    customer_id="cust-123",
    notification_type="payment_receipt",
    channel="email",
    recipient="ada@example.com",
    subject="Thank you",
    text="Paid",
)
UNKNOWN = NotificationUndeliverable(
    notification_id=CONFIRMATION_ID,
    order_id="o1",
    customer_id="cust-123",
    notification_type="order_confirmation",
    channel="email",
    error="No e-mail address is known for customer cust-123.",
)


def contact(**fields: str) -> Contact:
    known = {"name": "Ada", "email": "ada@example.com", "phone": "+15550100"} | fields
    return Contact(tenant="main", customer_id="cust-123", **known)


def notification(*events: Message) -> Notification:
    row = Notification(tenant="main")
    for event in events:
        row.apply(event)
    return row


def columns(row: Notification) -> dict[str, Any]:
    ours = {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}
    return ours | {"tenant": "main"}


def test_an_order_is_confirmed_by_email(context: Context) -> None:
    row, queued, send = confirm_order(ORDERED, None, contact(), None, context)

    assert queued == NotificationQueued(
        notification_id=CONFIRMATION_ID,
        order_id="o1",
        customer_id="cust-123",
        notification_type="order_confirmation",
        channel="email",
        recipient="ada@example.com",
        subject="Your order o1 is confirmed",
        text=CONFIRMATION_TEXT,
    )
    assert isinstance(send, SendNotification)
    assert "Thank you for your order</h1>" in send.html
    assert msgspec.structs.replace(send, html="") == SendNotification(
        order_id="o1",
        customer_id="cust-123",
        notification_id=CONFIRMATION_ID,
        channel="email",
        recipient="ada@example.com",
        subject="Your order o1 is confirmed",
        text=CONFIRMATION_TEXT,
    )
    assert isinstance(row, Notification)
    assert columns(row) == columns(notification(queued))
    assert row.status == "Queued"


def test_an_order_is_confirmed_once(context: Context) -> None:
    known = notification(UNKNOWN)

    assert confirm_order(ORDERED, known, contact(), None, context) == []
    assert columns(known) == columns(notification(UNKNOWN))


@pytest.mark.parametrize("known", [None, contact(email="")])
def test_without_an_email_address_a_confirmation_is_undeliverable(
    known: Contact | None, context: Context
) -> None:
    row, undeliverable = confirm_order(ORDERED, None, known, None, context)

    assert undeliverable == UNKNOWN
    assert isinstance(row, Notification)
    assert (row.status, row.recipient, row.error) == ("Undeliverable", "", UNKNOWN.error)


def test_without_a_phone_number_an_sms_is_undeliverable(context: Context) -> None:
    row, undeliverable = announce_shipment(SHIPPED, None, contact(phone=""), None, context)

    assert undeliverable == NotificationUndeliverable(
        notification_id=SHIPMENT_ID,
        order_id="o1",
        customer_id="cust-123",
        notification_type="shipment",
        channel="sms",
        error="No phone number is known for customer cust-123.",
    )
    assert isinstance(row, Notification)
    assert row.status == "Undeliverable"


def test_a_payment_is_acknowledged_by_email_and_a_shipment_announced_by_sms(
    context: Context,
) -> None:
    _, receipt, send_email = send_receipt(PAID, None, contact(), None, context)
    _, announcement, send_sms = announce_shipment(SHIPPED, None, contact(), None, context)

    assert isinstance(receipt, NotificationQueued)
    assert (receipt.notification_id, receipt.customer_id) == (RECEIPT_ID, "cust-123")
    assert receipt.subject == "We received your payment of 39.98 USD"
    assert isinstance(announcement, NotificationQueued)
    assert (announcement.notification_id, announcement.recipient) == (SHIPMENT_ID, "+15550100")
    assert "SP1" in announcement.text
    assert isinstance(send_email, SendNotification)
    assert isinstance(send_sms, SendNotification)
    assert (send_email.text, send_sms.text) == (receipt.text, announcement.text)


@pytest.mark.parametrize(
    "history",
    [
        [QUEUED],
        [
            QUEUED,
            NotificationFailed(
                notification_id=RECEIPT_ID,
                order_id="o1",
                notification_type="payment_receipt",
                channel="email",
                error="no such address",
            ),
        ],
    ],
)
def test_a_queued_notification_is_not_queued_again(
    history: list[Message], context: Context
) -> None:
    row = notification(*history)

    assert send_receipt(PAID, row, contact(), None, context) == []
    assert columns(row) == columns(notification(*history))


def answer(**fields: Any) -> RecordNotification:
    return RecordNotification(order_id="o1", notification_id=RECEIPT_ID, **fields)


def test_a_delivered_notification_is_sent(context: Context) -> None:
    row = notification(QUEUED)

    results = record_notification(answer(outcome="sent", provider_id="mailbox-1"), row, context)

    assert results == [
        NotificationSent(
            notification_id=RECEIPT_ID,
            order_id="o1",
            notification_type="payment_receipt",
            channel="email",
            provider_id="mailbox-1",
            sent_at=context.now,
        )
    ]
    assert (row.status, row.provider_id, row.sent_at) == ("Sent", "mailbox-1", context.now)


def test_a_refused_notification_has_failed(context: Context) -> None:
    row = notification(QUEUED)

    results = record_notification(answer(outcome="refused", error="no such address"), row, context)

    assert results == [
        NotificationFailed(
            notification_id=RECEIPT_ID,
            order_id="o1",
            notification_type="payment_receipt",
            channel="email",
            error="no such address",
        )
    ]
    assert (row.status, row.error, row.sent_at) == ("Failed", "no such address", None)


def test_a_providers_second_answer_changes_nothing(context: Context) -> None:
    row = notification(QUEUED)
    record_notification(answer(outcome="sent", provider_id="mailbox-1"), row, context)
    before = columns(row)

    assert record_notification(answer(outcome="refused", error="late"), row, context) == []
    assert record_notification(answer(outcome="sent", provider_id="mailbox-2"), row, context) == []
    assert record_notification(answer(outcome="sent"), None, context) == []
    assert columns(row) == before


def test_a_tenant_has_texts_of_its_own(context: Context) -> None:
    own = Template(
        tenant="main",
        template_id="payment_receipt.email",
        subject="Merci {{ name }}",
        text="",
        html="<p>{{ name }}</p>",
    )

    _, queued, send = send_receipt(PAID, None, contact(name="<Ada>"), own, context)

    assert isinstance(queued, NotificationQueued)
    assert isinstance(send, SendNotification)
    assert queued.subject == "Merci <Ada>"
    assert queued.text.startswith("Hello <Ada>,\n\nWe received your payment.")
    assert send.html == "<p>&lt;Ada&gt;</p>"


def test_a_tenants_texts_are_saved() -> None:
    command = SaveTemplate(template_id="shipment.sms", text="On its way: {{ tracking_number }}")

    assert save_template(command) == TemplateSaved(
        template_id="shipment.sms",
        subject="",
        text="On its way: {{ tracking_number }}",
        html="",
    )


@pytest.mark.parametrize(
    ("fields", "field", "detail"),
    [
        ({"text": "{% if %}"}, "text", "cannot be rendered"),
        ({"html": "{% include 'elsewhere.html' %}"}, "html", "cannot be rendered"),
        ({"subject": "{{ name|shout }}"}, "subject", "cannot be rendered"),
        ({"subject": "{{ nmae }}"}, "subject", "there is no nmae"),
    ],
)
def test_a_text_that_cannot_be_rendered_is_refused(
    fields: dict[str, str], field: str, detail: str
) -> None:
    with pytest.raises(Invalid, match=detail) as refusal:
        save_template(SaveTemplate(template_id="payment_receipt.email", **fields))

    assert refusal.value.field == field


def test_a_tenants_texts_can_say_all_that_their_examples_have(context: Context) -> None:
    def said(template_id: str) -> Template:
        names = "".join(f"[{{{{ {name} }}}}]" for name in EXAMPLES[template_id][0])
        return Template(tenant="main", template_id=template_id, text=names)

    for _, queued, _ in (
        confirm_order(ORDERED, None, contact(), said("order_confirmation.email"), context),
        send_receipt(PAID, None, contact(), said("payment_receipt.email"), context),
        announce_shipment(SHIPPED, None, contact(), said("shipment.sms"), context),
    ):
        assert isinstance(queued, NotificationQueued)
        assert queued.text.startswith("[Ada][o1]")
        assert "[]" not in queued.text


def test_a_text_for_no_notification_is_refused() -> None:
    with pytest.raises(NotFound, match=r"there is no template 'birthday\.email'"):
        save_template(SaveTemplate(template_id="birthday.email", text="Congratulations"))
    with pytest.raises(Invalid, match=r"shipment\.sms has no html"):
        save_template(SaveTemplate(template_id="shipment.sms", html="<p>Hello</p>"))
