"""Five steps, each of which writes a row and says what happened."""

from __future__ import annotations

from benchmarks.contenders.steps import DETAIL
from ecommerce.messaging.context import Context
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import handles

from .contracts import (
    CustomerNotified,
    Enqueue,
    OrderPlaced,
    OrderReceived,
    PaymentTaken,
    ShipmentSent,
    StockReserved,
)
from .models import Notification, Order, Payment, Shipment, Stock


@handles
def enqueue(command: Enqueue) -> list[Message]:
    """Begin many sagas at once, so that enqueueing takes little time."""
    return [OrderReceived(saga_id=saga) for saga in command.sagas]


@handles
def place_order(event: OrderReceived, context: Context) -> list[Message | Row]:
    row = Order(tenant=context.tenant, saga_id=event.saga_id, detail=DETAIL)
    return [row, OrderPlaced(saga_id=event.saga_id)]


@handles
def reserve_stock(event: OrderPlaced, context: Context) -> list[Message | Row]:
    row = Stock(tenant=context.tenant, saga_id=event.saga_id, detail=DETAIL)
    return [row, StockReserved(saga_id=event.saga_id)]


@handles
def take_payment(event: StockReserved, context: Context) -> list[Message | Row]:
    row = Payment(tenant=context.tenant, saga_id=event.saga_id, detail=DETAIL)
    return [row, PaymentTaken(saga_id=event.saga_id)]


@handles
def send_shipment(event: PaymentTaken, context: Context) -> list[Message | Row]:
    row = Shipment(tenant=context.tenant, saga_id=event.saga_id, detail=DETAIL)
    return [row, ShipmentSent(saga_id=event.saga_id)]


@handles
def notify_customer(event: ShipmentSent, context: Context) -> list[Message | Row]:
    row = Notification(tenant=context.tenant, saga_id=event.saga_id, detail=DETAIL)
    return [row, CustomerNotified(saga_id=event.saga_id)]
