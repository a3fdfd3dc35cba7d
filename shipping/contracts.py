"""Messages that the shipping service owns. All are ordered by the order they belong to.

`BuyLabel` and `TrackShipment` are carried out by effect handlers, which call the carrier outside
any transaction and answer with the matching `Record…` command.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

import msgspec

from ecommerce.messaging.messages import Message, Personal, command, event
from ecommerce.values import Address, Money

ServiceLevel = Literal["Standard", "Express", "Overnight"]
TrackingStatus = Literal["InTransit", "Exception", "Delivered"]


class ParcelLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many units of an order's line are in a parcel."""

    line_id: str
    product_id: str
    quantity: int


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One box of a shipment."""

    parcel_id: str
    lines: tuple[ParcelLine, ...]


@command(stream="order_id", person="customer_id")
class CreateShipment(Message):
    """Send an order's goods. Without an address they wait at the warehouse for collection."""

    order_id: str
    customer_id: str
    lines: tuple[ParcelLine, ...]
    service_level: ServiceLevel = "Standard"
    address: Personal[Address | None] = None


@command(stream="order_id", person="customer_id")
class BuyLabel(Message):
    """Effect: buy the carrier's label. `key` is the idempotency key at the carrier."""

    order_id: str
    customer_id: str
    shipment_id: str
    key: str
    service_level: ServiceLevel
    parcels: tuple[Parcel, ...]
    address: Personal[Address | None] = None


@command(stream="order_id")
class TrackShipment(Message):
    """Effect: ask the carrier where the shipment is. `ask` counts the questions, from 1."""

    order_id: str
    shipment_id: str
    tracking_number: str
    ask: int = 1


@command(stream="order_id")
class RecordLabel(Message):
    """What the carrier said to `BuyLabel` when it took the shipment."""

    order_id: str
    shipment_id: str
    carrier: str
    tracking_number: str
    label_url: str
    cost: Money
    estimated_delivery: date


@command(stream="order_id")
class RecordLabelRefused(Message):
    """What the carrier said to `BuyLabel` when it did not."""

    order_id: str
    shipment_id: str
    reason: str


@command(stream="order_id")
class RecordTracking(Message):
    """Where the carrier says the shipment is, and since when.

    `ask` is the number of the question that this answers; 0 when the carrier spoke unasked.
    """

    order_id: str
    shipment_id: str
    status: TrackingStatus
    at: datetime
    location: str = ""
    ask: int = 0


@event(stream="order_id", person="customer_id")
class ShipmentRequested(Message):
    """A shipment is being bought from the carrier."""

    order_id: str
    customer_id: str
    shipment_id: str
    service_level: ServiceLevel
    parcels: tuple[Parcel, ...]
    address: Personal[Address | None] = None


@event(stream="order_id")
class ShipmentCreated(Message):
    """The carrier has the shipment; or, with `collection`, it waits for the customer to fetch it."""

    order_id: str
    shipment_id: str
    customer_id: str
    carrier: str
    tracking_number: str
    label_url: str
    cost: Money
    estimated_delivery: date
    collection: bool = False


@event(stream="order_id")
class ShipmentFailed(Message):
    """The carrier refused the shipment; nothing was sent."""

    order_id: str
    shipment_id: str
    reason: str


@event(stream="order_id")
class ShipmentStatusChanged(Message):
    """The carrier reports the shipment on its way, or a problem with it, at `location`."""

    order_id: str
    shipment_id: str
    status: Literal["InTransit", "Exception"]
    at: datetime
    location: str


@event(stream="order_id")
class ShipmentDelivered(Message):
    """The customer has the goods."""

    order_id: str
    shipment_id: str
    delivered_at: datetime
