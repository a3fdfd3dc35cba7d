"""Messages that the orders service owns. All are ordered by the order they belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from ecommerce.messaging.messages import Message, Personal, command, event
from ecommerce.values import Address

CancelReason = Literal[
    "customer_request",
    "insufficient_stock",
    "reservation_timeout",
    "payment_declined",
    "payment_timeout",
    "shipment_failed",
]


class RequestedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a shopper asks for. `unit_price` (minor units) is the price they were shown, if any."""

    product_id: str
    quantity: int
    unit_price: int | None = None


class OrderLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of an order, with the name and unit price (minor units) it was sold at."""

    line_id: str
    product_id: str
    name: str
    quantity: int
    unit_price: int

    @property
    def line_total(self) -> int:
        return self.unit_price * self.quantity


class Totals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an order costs, in minor units of one currency."""

    currency: str
    subtotal: int
    discount: int
    shipping: int
    tax: int
    total: int


@command(stream="order_id", person="customer_id")
class CreateOrder(Message):
    """Place an order. Prices come from the catalogue; those given here must agree with it."""

    order_id: str
    customer_id: str
    lines: tuple[RequestedLine, ...]
    expected_total: int | None = None
    payment_method: str = "card_approved"
    shipping_address: Personal[Address | None] = None

    @property
    def product_ids(self) -> list[str]:
        return [line.product_id for line in self.lines]


@command(stream="order_id")
class CancelOrder(Message):
    """Cancel an order that has not been handed to shipping."""

    order_id: str
    reason: CancelReason = "customer_request"


@command(stream="order_id")
class ExpireOrder(Message):
    """A step of the order's saga was not answered by its deadline."""

    order_id: str
    deadline: datetime


@event(stream="order_id", person="customer_id")
class OrderCreated(Message):
    """`created_at` carries the tenant's UTC offset: its date is the business day."""

    order_id: str
    customer_id: str
    lines: tuple[OrderLine, ...]
    totals: Totals
    payment_method: str
    created_at: datetime
    shipping_address: Personal[Address | None] = None


@event(stream="order_id")
class OrderReserved(Message):
    """Stock is held for every line."""

    order_id: str


@event(stream="order_id")
class OrderPaid(Message):
    """The payment was captured and the shipment has been asked for: no way back."""

    order_id: str
    payment_id: str


@event(stream="order_id")
class OrderShipped(Message):
    """The carrier has taken the order over."""

    order_id: str
    shipment_id: str
    tracking_number: str


@event(stream="order_id")
class OrderDelivered(Message):
    """The carrier has handed the order to the customer."""

    order_id: str
    delivered_at: datetime


@event(stream="order_id")
class OrderCancellationRequested(Message):
    """Cancelled while a payment call may be in flight: the payment's answer decides the rest."""

    order_id: str
    reason: CancelReason


@event(stream="order_id")
class OrderCancelled(Message):
    """The order is over. Lines and totals let readers subtract it on the day of `cancelled_at`,
    which carries the tenant's UTC offset."""

    order_id: str
    customer_id: str
    reason: CancelReason
    lines: tuple[OrderLine, ...]
    totals: Totals
    created_at: datetime
    cancelled_at: datetime


@event(stream="order_id")
class OrderStalled(Message):
    """A step past the point of no return missed its deadline: an operator must look."""

    order_id: str
    step: str
