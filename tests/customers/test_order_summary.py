"""An order as people see it, whichever service is heard first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from customers.models import OrderSummary
from ecommerce.messaging.context import Context
from ecommerce.messaging.messages import Message
from orders.contracts import (
    OrderCancellationRequested,
    OrderDelivered,
    OrderPaid,
    OrderReserved,
    OrderShipped,
)
from payments.contracts import PaymentCancellationRequested, PaymentFailed, PaymentVoided
from shipping.contracts import ShipmentDelivered, ShipmentStatusChanged
from tests.customers import examples
from tests.customers.examples import LOCAL, created
from tests.projecting import NOW, columns, context, interleavings, project

Source = list[tuple[Message, Context]]

PLACED = {
    "tenant": "main",
    "order_id": "o1",
    "customer_id": "cust-123",
    "status": "Pending",
    "cancel_reason": "",
    "currency": "USD",
    "subtotal": 8948,
    "discount": 0,
    "shipping": 0,
    "tax": 0,
    "total": 8948,
    "item_count": 2,
    "lines": [
        {
            "line_id": "1",
            "product_id": "prod-456",
            "name": "Mouse",
            "quantity": 2,
            "unit_price": 1999,
            "line_total": 3998,
        },
        {
            "line_id": "2",
            "product_id": "prod-789",
            "name": "Keyboard",
            "quantity": 1,
            "unit_price": 4950,
            "line_total": 4950,
        },
    ],
    "shipping_address": {
        "street": "123 Main St",
        "city": "Springfield",
        "state": "IL",
        "zip_code": "62701",
        "country": "US",
    },
    "created_at": LOCAL,
    "reached": {"Pending": "2026-03-01T23:30:00+00:00"},
    "payment_id": "",
    "payment_status": "",
    "payment_processed_at": None,
    "transaction_id": "",
    "shipment_id": "",
    "shipment_status": "",
    "carrier": "",
    "tracking_number": "",
    "estimated_delivery": None,
    "actual_delivery": None,
    "updated_at": NOW,
}
DELIVERED_AT = NOW + timedelta(days=3)


def recorded(start: int, *messages: Message) -> Source:
    """A source's messages, recorded one a minute."""
    return [(message, context(start + i)) for i, message in enumerate(messages)]


def delivered_order() -> list[Source]:
    return [
        recorded(
            0,
            created(),
            OrderReserved(order_id="o1"),
            OrderPaid(order_id="o1", payment_id="pay-o1"),
            OrderShipped(order_id="o1", shipment_id="shp-o1", tracking_number="T1"),
            OrderDelivered(order_id="o1", delivered_at=DELIVERED_AT),
        ),
        recorded(2, examples.payment_requested(), examples.processed()),
        recorded(
            10,
            examples.shipment(),
            ShipmentStatusChanged(
                order_id="o1",
                shipment_id="shp-o1",
                status="InTransit",
                at=NOW,
                location="Springfield",
            ),
            ShipmentDelivered(order_id="o1", shipment_id="shp-o1", delivered_at=DELIVERED_AT),
        ),
    ]


def refunded_order() -> list[Source]:
    return [
        recorded(
            0,
            created(),
            OrderReserved(order_id="o1"),
            OrderCancellationRequested(order_id="o1", reason="customer_request"),
            examples.cancelled(created()),
        ),
        recorded(
            2,
            examples.payment_requested(),
            examples.processed(),
            PaymentCancellationRequested(
                order_id="o1", payment_id="pay-o1", reason="customer_request"
            ),
            examples.refunded(),
        ),
    ]


def summary_of(events: Iterable[tuple[Message, Context]]) -> dict[str, Any]:
    (summary,) = [row for row in project("customers", events) if isinstance(row, OrderSummary)]
    return columns(summary)


def test_a_placed_order_is_shown_whole() -> None:
    assert summary_of(recorded(0, created())) == PLACED


def test_a_delivered_order_ends_the_same_in_every_interleaving() -> None:
    # given
    expected = PLACED | {
        "status": "Delivered",
        "reached": {
            "Pending": "2026-03-01T23:30:00+00:00",
            "Reserved": "2026-03-01T23:31:00+00:00",
            "Paid": "2026-03-01T23:32:00+00:00",
            "Shipped": "2026-03-01T23:33:00+00:00",
            "Delivered": "2026-03-01T23:34:00+00:00",
        },
        "payment_id": "pay-o1",
        "payment_status": "Captured",
        "payment_processed_at": NOW,
        "transaction_id": "txn-1",
        "shipment_id": "shp-o1",
        "shipment_status": "Delivered",
        "carrier": "SwiftParcel",
        "tracking_number": "T1",
        "estimated_delivery": date(2026, 3, 5),
        "actual_delivery": DELIVERED_AT,
        "updated_at": NOW + timedelta(minutes=12),
    }
    # when
    ends = [summary_of(events) for events in interleavings(delivered_order())]
    # then
    assert len(ends) == 2520
    assert all(end == expected for end in ends)


def test_a_cancelled_and_refunded_order_ends_the_same_in_every_interleaving() -> None:
    # given
    expected = PLACED | {
        "status": "Cancelled",
        "reached": {
            "Pending": "2026-03-01T23:30:00+00:00",
            "Reserved": "2026-03-01T23:31:00+00:00",
            "Cancelling": "2026-03-01T23:32:00+00:00",
            "Cancelled": "2026-03-01T23:33:00+00:00",
        },
        "cancel_reason": "customer_request",
        "payment_id": "pay-o1",
        "payment_status": "Refunded",
        "payment_processed_at": NOW,
        "transaction_id": "txn-1",
        "updated_at": NOW + timedelta(minutes=5),
    }
    # when
    ends = [summary_of(events) for events in interleavings(refunded_order())]
    # then
    assert len(ends) == 70
    assert all(end == expected for end in ends)


def test_a_payment_heard_of_first_makes_a_row_that_is_no_order_yet() -> None:
    # when
    summary = summary_of(recorded(0, examples.processed()))
    # then
    assert summary["created_at"] is None
    assert summary["customer_id"] == ""
    assert summary["payment_status"] == "Captured"


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (PaymentFailed(order_id="o1", payment_id="pay-o1", code="x", reason="y"), "Failed"),
        (PaymentVoided(order_id="o1", payment_id="pay-o1"), "Voided"),
        (
            PaymentCancellationRequested(order_id="o1", payment_id="pay-o1", reason="z"),
            "Cancelling",
        ),
        (examples.refunded(), "Refunded"),
    ],
)
def test_the_payment_shows_what_became_of_it(event: Message, status: str) -> None:
    summary = summary_of(recorded(0, created(), examples.payment_requested(), event))
    assert summary["payment_status"] == status


def test_money_taken_while_cancelling_shows_its_transaction_when_it_is_given_back() -> None:
    summary = summary_of(recorded(0, created(), examples.payment_requested(), examples.refunded()))
    assert (summary["transaction_id"], summary["payment_processed_at"]) == ("txn-1", None)


def test_a_problem_on_the_way_reaches_the_customer() -> None:
    # given
    problem = ShipmentStatusChanged(
        order_id="o1", shipment_id="shp-o1", status="Exception", at=NOW, location="Springfield"
    )
    # when
    summary = summary_of(recorded(0, created(), examples.shipment(), problem))
    # then
    assert summary["shipment_status"] == "Exception"


def test_an_order_being_cancelled_shows_why() -> None:
    # given
    requested = OrderCancellationRequested(order_id="o1", reason="customer_request")
    # when
    summary = summary_of(recorded(0, created(), requested))
    # then
    assert (summary["status"], summary["cancel_reason"]) == ("Cancelling", "customer_request")


def test_an_event_that_was_recorded_earlier_does_not_turn_time_back() -> None:
    # given
    late: datetime = NOW + timedelta(minutes=9)
    # when
    summary = summary_of([(created(), context(9)), (examples.processed(), context(3))])
    # then
    assert summary["updated_at"] == late
