"""What happens to a saga: each event makes the next step."""

from __future__ import annotations

from ecommerce.messaging.messages import Message, command, event


@command(stream="first")
class Enqueue(Message):
    """Begin these sagas."""

    first: str
    sagas: tuple[str, ...]


@event(stream="saga_id")
class OrderReceived(Message):
    saga_id: str


@event(stream="saga_id")
class OrderPlaced(Message):
    saga_id: str


@event(stream="saga_id")
class StockReserved(Message):
    saga_id: str


@event(stream="saga_id")
class PaymentTaken(Message):
    saga_id: str


@event(stream="saga_id")
class ShipmentSent(Message):
    saga_id: str


@event(stream="saga_id")
class CustomerNotified(Message):
    saga_id: str
