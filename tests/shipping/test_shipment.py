"""From the order to send goods to their delivery, one message at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pytest
from pytest_django import Settings

from ecommerce.messaging.context import Context
from ecommerce.messaging.messages import Message
from ecommerce.messaging.registry import Later
from ecommerce.values import Address, Money
from shipping.contracts import (
    BuyLabel,
    CreateShipment,
    Parcel,
    ParcelLine,
    RecordLabel,
    RecordLabelRefused,
    RecordTracking,
    ShipmentCreated,
    ShipmentDelivered,
    ShipmentFailed,
    ShipmentRequested,
    ShipmentStatusChanged,
    TrackShipment,
)
from shipping.handlers import (
    MOST_ASKS,
    create_shipment,
    record_label,
    record_label_refused,
    record_tracking,
)
from shipping.models import Shipment

ADDRESS = Address("1 Main Street", "Springfield", "IL", "62701", "US")
LINES = (ParcelLine("1", "prod-456", 2), ParcelLine("2", "prod-789", 1))
PARCELS = (Parcel("ship-o1-1", LINES),)
ARRIVED = datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC)

REQUESTED = ShipmentRequested(
    order_id="o1",
    customer_id="cust-123",
    shipment_id="ship-o1",
    service_level="Express",
    parcels=PARCELS,
    address=ADDRESS,
)
CREATED = ShipmentCreated(
    order_id="o1",
    shipment_id="ship-o1",
    customer_id="cust-123",
    carrier="SwiftParcel",
    tracking_number="SP1",
    label_url="https://labels.example/SP1.pdf",
    cost=Money(1295, "USD"),
    estimated_delivery=date(2026, 3, 4),
)
FAILED = ShipmentFailed(order_id="o1", shipment_id="ship-o1", reason="no such address")
DELIVERED = ShipmentDelivered(order_id="o1", shipment_id="ship-o1", delivered_at=ARRIVED)

LABEL = RecordLabel(
    order_id="o1",
    shipment_id="ship-o1",
    carrier="SwiftParcel",
    tracking_number="SP1",
    label_url="https://labels.example/SP1.pdf",
    cost=Money(1295, "USD"),
    estimated_delivery=date(2026, 3, 4),
)
REFUSED = RecordLabelRefused(order_id="o1", shipment_id="ship-o1", reason="no such address")


def changed(status: Literal["InTransit", "Exception"]) -> ShipmentStatusChanged:
    return ShipmentStatusChanged(
        order_id="o1", shipment_id="ship-o1", status=status, at=ARRIVED, location="Hub"
    )


def report(status: Literal["InTransit", "Exception", "Delivered"], ask: int = 1) -> RecordTracking:
    return RecordTracking(
        order_id="o1", shipment_id="ship-o1", status=status, at=ARRIVED, location="Hub", ask=ask
    )


def question(ask: int) -> TrackShipment:
    return TrackShipment(order_id="o1", shipment_id="ship-o1", tracking_number="SP1", ask=ask)


def shipment(*events: Message) -> Shipment:
    row = Shipment(tenant="main")
    for event in events:
        row.apply(event)
    return row


def columns(row: Shipment) -> dict[str, Any]:
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}


def messages(results: Iterable[object]) -> list[object]:
    return [result for result in results if not isinstance(result, Shipment)]


def test_a_shipment_is_requested_and_its_label_bought_under_a_key_of_its_own(
    context: Context,
) -> None:
    command = CreateShipment(
        order_id="o1",
        customer_id="cust-123",
        lines=LINES,
        service_level="Express",
        address=ADDRESS,
    )

    row, *sent = create_shipment(command, None, context)

    assert sent == [
        REQUESTED,
        BuyLabel(
            order_id="o1",
            customer_id="cust-123",
            shipment_id="ship-o1",
            key="main/ship-o1/label",
            service_level="Express",
            parcels=PARCELS,
            address=ADDRESS,
        ),
    ]
    assert isinstance(row, Shipment)
    assert columns(row) == columns(shipment(REQUESTED))
    assert (row.order_id, row.status) == ("o1", "Requested")
    assert row.parcels == [
        {
            "parcel_id": "ship-o1-1",
            "lines": [
                {"line_id": "1", "product_id": "prod-456", "quantity": 2},
                {"line_id": "2", "product_id": "prod-789", "quantity": 1},
            ],
        }
    ]
    assert row.address is not None
    assert row.address["city"] == "Springfield"


def test_a_second_order_to_ship_the_same_goods_is_ignored(context: Context) -> None:
    row = shipment(REQUESTED)
    command = CreateShipment(order_id="o1", customer_id="cust-123", lines=LINES)

    assert create_shipment(command, row, context) == []
    assert columns(row) == columns(shipment(REQUESTED))


def test_a_bought_label_is_announced_and_the_carrier_asked_later(
    context: Context, settings: Settings
) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 45
    row = shipment(REQUESTED)

    results = record_label(LABEL, row, context)

    assert results == [CREATED, Later(question(1), context.now + timedelta(seconds=45))]
    assert (row.status, row.cost, row.currency) == ("Created", 1295, "USD")


def test_goods_without_an_address_are_announced_for_collection(context: Context) -> None:
    row = shipment(
        ShipmentRequested(
            order_id="o1",
            customer_id="cust-123",
            shipment_id="ship-o1",
            service_level="Standard",
            parcels=PARCELS,
        )
    )

    created, _ = record_label(LABEL, row, context)

    assert isinstance(created, ShipmentCreated)
    assert created.collection is True
    assert row.address is None


def test_a_refused_label_fails_the_shipment_with_the_reason() -> None:
    row = shipment(REQUESTED)

    assert record_label_refused(REFUSED, row) == [FAILED]
    assert (row.status, row.reason, row.tracking_number) == ("Failed", "no such address", "")


@pytest.mark.parametrize(
    "history", [[REQUESTED, CREATED], [REQUESTED, FAILED], [REQUESTED, CREATED, DELIVERED]]
)
def test_a_carriers_second_answer_changes_nothing(history: list[Message], context: Context) -> None:
    row = shipment(*history)

    assert record_label(LABEL, row, context) == []
    assert record_label_refused(REFUSED, row) == []
    assert columns(row) == columns(shipment(*history))


def test_answers_about_an_unknown_shipment_are_ignored(context: Context) -> None:
    assert record_label(LABEL, None, context) == []
    assert record_label_refused(REFUSED, None) == []
    assert record_tracking(report("Delivered"), None, context) == []


def test_a_delivery_ends_the_questions(context: Context) -> None:
    row = shipment(REQUESTED, CREATED)

    assert record_tracking(report("Delivered"), row, context) == [DELIVERED]
    assert (row.status, row.delivered_at) == ("Delivered", ARRIVED)


def test_goods_in_transit_are_asked_for_again(context: Context) -> None:
    row = shipment(REQUESTED, CREATED)

    results = record_tracking(report("InTransit", ask=3), row, context)

    assert results == [
        changed("InTransit"),
        Later(question(4), context.now + timedelta(seconds=30)),
    ]
    assert (row.status, row.location) == ("InTransit", "Hub")


def test_the_questions_come_to_an_end(context: Context) -> None:
    row = shipment(REQUESTED, CREATED, changed("Exception"))

    assert record_tracking(report("Exception", ask=MOST_ASKS), row, context) == []


def test_a_report_that_nobody_asked_for_asks_nothing(context: Context) -> None:
    row = shipment(REQUESTED, CREATED)

    assert record_tracking(report("InTransit", ask=0), row, context) == [changed("InTransit")]


@pytest.mark.parametrize(
    ("history", "late"),
    [
        ([CREATED, changed("InTransit")], "InTransit"),
        ([CREATED, changed("Exception")], "InTransit"),
        ([CREATED, DELIVERED], "InTransit"),
        ([CREATED, DELIVERED], "Exception"),
        ([CREATED, DELIVERED], "Delivered"),
        ([], "Delivered"),
        ([FAILED], "Delivered"),
    ],
)
def test_the_status_never_moves_backwards(
    history: list[Message],
    late: Literal["InTransit", "Exception", "Delivered"],
    context: Context,
) -> None:
    row = shipment(REQUESTED, *history)

    results = record_tracking(report(late, ask=0), row, context)

    assert results == []
    assert columns(row) == columns(shipment(REQUESTED, *history))


def test_the_row_equals_the_fold_of_its_events(context: Context) -> None:
    command = CreateShipment(
        order_id="o1", customer_id="cust-123", lines=LINES, service_level="Express", address=ADDRESS
    )

    row, *results = create_shipment(command, None, context)
    assert isinstance(row, Shipment)
    results += record_label(LABEL, row, context)
    results += record_tracking(report("InTransit"), row, context)
    results += record_tracking(report("Exception"), row, context)
    results += record_tracking(report("Delivered"), row, context)

    events = [m for m in messages(results) if isinstance(m, Message) and not _is_effect(m)]
    assert events == [REQUESTED, CREATED, changed("InTransit"), changed("Exception"), DELIVERED]
    assert columns(row) == columns(shipment(*events))


def _is_effect(message: Message) -> bool:
    return isinstance(message, BuyLabel | TrackShipment)
