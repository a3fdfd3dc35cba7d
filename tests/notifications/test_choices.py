"""What customers do not want to be told, and when no text messages may come."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from customers.contracts import ContactSaved, NoticesChosen, QuietHours
from ecommerce.messaging.context import Context
from ecommerce.messaging.registry import Later
from notifications.contracts import NotificationQueued, NotificationUnwanted, SendNotification
from notifications.handlers import announce_shipment, confirm_order, send_receipt
from notifications.models import Contact, Notification

from .test_interleavings import HAPPENED, World, ends
from .test_interleavings import state as columns_of
from .test_notifying import ORDERED, PAID, RECEIPT_ID, SHIPPED, columns, contact, notification

BERLIN = {"begin": 22, "end": 8, "zone": "Europe/Berlin"}
UNWANTED = NotificationUnwanted(
    notification_id=RECEIPT_ID,
    order_id="o1",
    customer_id="cust-123",
    notification_type="payment_receipt",
    channel="email",
)


def choosy(*unwanted: str, quiet: dict[str, object] | None = None) -> Contact:
    known = contact()
    known.unwanted, known.quiet = list(unwanted), quiet
    return known


def at(context: Context, hour: int, minute: int = 0) -> Context:
    """A summer's day, on which Berlin is two hours ahead."""
    return msgspec.structs.replace(context, now=datetime(2026, 7, 1, hour, minute, tzinfo=UTC))


def test_what_a_customer_does_not_want_is_not_sent(context: Context) -> None:
    # when
    row, *messages = send_receipt(PAID, None, choosy("payment_receipt.email"), None, context)
    # then
    assert messages == [UNWANTED]
    assert isinstance(row, Notification)
    assert columns(row) == columns(notification(UNWANTED))
    assert row.status == "Unwanted"


def test_the_other_channel_and_the_other_kinds_go_on(context: Context) -> None:
    _, queued, send = announce_shipment(
        SHIPPED, None, choosy("payment_receipt.email"), None, context
    )

    assert isinstance(queued, NotificationQueued)
    assert isinstance(send, SendNotification)


def test_the_confirmation_of_an_order_is_sent_whatever_was_chosen(context: Context) -> None:
    everything = choosy("payment_receipt.email", "shipment.sms", quiet=BERLIN)

    _, queued, _ = confirm_order(ORDERED, None, everything, None, context)

    assert isinstance(queued, NotificationQueued)


def test_what_was_not_wanted_is_not_prepared_again(context: Context) -> None:
    row = notification(UNWANTED)

    assert send_receipt(PAID, row, contact(), None, context) == []
    assert columns(row) == columns(notification(UNWANTED))


@pytest.mark.parametrize(
    ("quiet", "now", "until"),
    [
        (BERLIN, (19, 59), None),
        (BERLIN, (20, 0), datetime(2026, 7, 2, 6, tzinfo=UTC)),
        (BERLIN, (23, 30), datetime(2026, 7, 2, 6, tzinfo=UTC)),
        (BERLIN, (5, 59), datetime(2026, 7, 1, 6, tzinfo=UTC)),
        (BERLIN, (6, 0), None),
        (BERLIN | {"begin": 12, "end": 14}, (9, 59), None),
        (BERLIN | {"begin": 12, "end": 14}, (10, 0), datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (BERLIN | {"begin": 12, "end": 14}, (12, 0), None),
    ],
)
def test_a_text_message_waits_for_the_end_of_quiet_hours(
    context: Context,
    quiet: dict[str, object],
    now: tuple[int, int],
    until: datetime | None,
) -> None:
    _, queued, send = announce_shipment(SHIPPED, None, choosy(quiet=quiet), None, at(context, *now))

    assert isinstance(queued, NotificationQueued)
    if until is None:
        assert isinstance(send, SendNotification)
    else:
        assert isinstance(send, Later)
        assert send.at == until
        assert isinstance(send.message, SendNotification)


def test_mail_does_not_wait(context: Context) -> None:
    results = send_receipt(PAID, None, choosy(quiet=BERLIN), None, at(context, 23))

    assert isinstance(results[-1], SendNotification)


def test_what_is_not_wanted_does_not_wait_for_the_morning(context: Context) -> None:
    choice = choosy("shipment.sms", quiet=BERLIN)

    row, unwanted = announce_shipment(SHIPPED, None, choice, None, at(context, 23))

    assert isinstance(unwanted, NotificationUnwanted)
    assert isinstance(row, Notification)


def test_whatever_the_interleaving_a_choice_that_is_known_holds(context: Context) -> None:
    # given
    chosen = NoticesChosen(
        customer_id="cust-123",
        unwanted=("payment_receipt.email",),
        quiet=QuietHours(begin=22, end=8, zone="UTC"),
    )
    saved = ContactSaved(customer_id="cust-123", name="Ada", email="a@b.org", phone="+1")
    world = World(context, HAPPENED | {"customers": [saved, chosen]})
    known = world.after_next_of("customers").after_next_of("customers")
    # when, then
    for end in ends(known):
        told = end.notifications()
        assert told[RECEIPT_ID].status == "Unwanted"
        assert {row.status for key, row in told.items() if key != RECEIPT_ID} == {"Sent"}
    # and without waiting for it, each is told or not, but never both
    for end in ends(world):
        sent = {mail.notification_id for mail in end.mails}
        for key, row in end.notifications().items():
            assert (row.status == "Sent") == (key in sent)
            folded = Notification(tenant="main")
            for event in end.events:
                if event.notification_id == key:  # type: ignore[attr-defined]
                    folded.apply(event)
            assert columns_of(folded) == columns_of(row)
