"""From a paid order to its delivery.

    CreateShipment → ShipmentRequested, BuyLabel ⇢ RecordLabel → ShipmentCreated, TrackShipment
                                                 ⇢ RecordLabelRefused → ShipmentFailed
    TrackShipment ⇢ RecordTracking → ShipmentStatusChanged, TrackShipment | ShipmentDelivered

⇢ is the carrier's answer. Answers that come twice or too late change nothing.
"""

from __future__ import annotations

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Retry
from ecommerce.messaging.registry import Call, Later, Result, handles, performs

from .contracts import (
    BuyLabel,
    CreateShipment,
    Parcel,
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
from .gateways import (
    CarrierError,
    CarrierUnavailable,
    Label,
    LabelRequest,
    carrier,
    delivery_time,
)
from .models import Shipment

MOST_ASKS = 40
"""After so many questions without a delivery, only the carrier's own reports move a shipment."""


@handles
def create_shipment(
    command: CreateShipment, shipment: Shipment | None, context: Context
) -> list[Result]:
    """Ask the carrier for a label, once for each order. All lines travel in one parcel."""
    if shipment is not None:
        return []
    shipment_id = f"ship-{command.order_id}"
    shipment = Shipment(tenant=context.tenant)
    requested = shipment.record(
        ShipmentRequested(
            order_id=command.order_id,
            customer_id=command.customer_id,
            shipment_id=shipment_id,
            service_level=command.service_level,
            parcels=(Parcel(parcel_id=f"{shipment_id}-1", lines=command.lines),),
            address=command.address,
        )
    )
    label = BuyLabel(
        order_id=command.order_id,
        customer_id=command.customer_id,
        shipment_id=shipment_id,
        key=f"{context.tenant}/{shipment_id}/label",
        service_level=command.service_level,
        parcels=requested.parcels,
        address=command.address,
    )
    return [shipment, requested, label]


@performs
def buy_label(calls: list[Call[BuyLabel]]) -> list[RecordLabel | RecordLabelRefused | Retry]:
    """Buy labels; their keys make the carrier sell each once, however often it is asked."""
    answers = carrier().create([_request(call) for call in calls])
    return [_answered(call.message, answer) for call, answer in zip(calls, answers, strict=True)]


@handles
def record_label(command: RecordLabel, shipment: Shipment | None, context: Context) -> list[Result]:
    """The carrier has the shipment; ask it later how far it got."""
    if shipment is None or shipment.status != Shipment.Status.REQUESTED:
        return []
    created = shipment.record(
        ShipmentCreated(
            order_id=command.order_id,
            shipment_id=command.shipment_id,
            customer_id=shipment.customer_id,
            carrier=command.carrier,
            tracking_number=command.tracking_number,
            label_url=command.label_url,
            cost=command.cost,
            estimated_delivery=command.estimated_delivery,
            collection=shipment.is_collection,
        )
    )
    return [created, _ask(shipment, 1, context)]


@handles
def record_label_refused(command: RecordLabelRefused, shipment: Shipment | None) -> list[Result]:
    """The carrier will not take the shipment: the order's saga decides what follows."""
    if shipment is None or shipment.status != Shipment.Status.REQUESTED:
        return []
    return [
        shipment.record(
            ShipmentFailed(
                order_id=command.order_id, shipment_id=command.shipment_id, reason=command.reason
            )
        )
    ]


@performs
def track_shipment(command: TrackShipment) -> RecordTracking:
    """Ask the carrier where the shipment is."""
    try:
        found = carrier().track(command.tracking_number)
    except CarrierUnavailable as fault:
        raise Retry(str(fault)) from fault
    return RecordTracking(
        order_id=command.order_id,
        shipment_id=command.shipment_id,
        status=found.status,
        at=found.at,
        location=found.location,
        ask=command.ask,
    )


@handles
def record_tracking(
    command: RecordTracking, shipment: Shipment | None, context: Context
) -> list[Result]:
    """Follow the carrier's report when it is news, and ask again until the goods arrive."""
    if shipment is None or not shipment.is_under_way:
        return []
    results: list[Result] = []
    if shipment.is_news(command.status):
        results.append(shipment.record(_news(command)))
    if command.status != "Delivered" and 0 < command.ask < MOST_ASKS:
        results.append(_ask(shipment, command.ask + 1, context))
    return results


def _request(call: Call[BuyLabel]) -> LabelRequest:
    command, context = call.message, call.context
    return LabelRequest(
        key=command.key,
        reference=f"{context.tenant}/{command.shipment_id}",
        service_level=command.service_level,
        parcels=command.parcels,
        address=command.address,
        shipped_at=context.now,
    )


def _answered(
    command: BuyLabel, answer: Label | CarrierError
) -> RecordLabel | RecordLabelRefused | Retry:
    if isinstance(answer, CarrierUnavailable):
        return Retry(str(answer))
    if isinstance(answer, CarrierError):
        return RecordLabelRefused(
            order_id=command.order_id, shipment_id=command.shipment_id, reason=str(answer)
        )
    return RecordLabel(
        order_id=command.order_id,
        shipment_id=command.shipment_id,
        carrier=answer.carrier,
        tracking_number=answer.tracking_number,
        label_url=answer.label_url,
        cost=answer.cost,
        estimated_delivery=answer.estimated_delivery,
    )


def _news(report: RecordTracking) -> ShipmentDelivered | ShipmentStatusChanged:
    if report.status == "Delivered":
        return ShipmentDelivered(
            order_id=report.order_id, shipment_id=report.shipment_id, delivered_at=report.at
        )
    return ShipmentStatusChanged(
        order_id=report.order_id,
        shipment_id=report.shipment_id,
        status=report.status,
        at=report.at,
        location=report.location,
    )


def _ask(shipment: Shipment, ask: int, context: Context) -> Later:
    question = TrackShipment(
        order_id=shipment.order_id,
        shipment_id=shipment.shipment_id,
        tracking_number=shipment.tracking_number,
        ask=ask,
    )
    return Later(question, context.now + delivery_time())
