"""What the customers API gives."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ecommerce.web import AddressOut, Input, MomentIn, MoneyOut, Output, Paging

from .models import CustomerActivity, OrderSummary

Status = Literal["Pending", "Reserved", "Paid", "Shipped", "Delivered", "Cancelling", "Cancelled"]


class OrdersOfCustomer(Paging):
    """Which of a customer's orders."""

    status: Annotated[Status | None, Field(description="Only orders in this status.")] = None


class AllOrders(OrdersOfCustomer):
    """Which of all orders."""

    customer_id: Annotated[str | None, Field(description="Only orders of this customer.")] = None


class AsOf(Input):
    """When."""

    as_of: Annotated[
        MomentIn | None,
        Field(description="The order as it was at this version, or at this instant."),
    ] = None


class CustomerOut(Output):
    """What a customer's orders add up to; cancelled ones are not in the totals.

    `totalSpent` is what orders in `currency`, that of the first order, cost.
    """

    customer_id: str
    total_orders: int = 0
    total_spent: MoneyOut = 0
    currency: str
    last_order_id: str | None = None
    last_order_at: datetime | None = None
    first_order_at: datetime | None = None

    @classmethod
    def of(cls, activity: CustomerActivity) -> CustomerOut:
        return cls.model_validate(activity)


class OrderedItemOut(Output):
    """A line of an order, as it was sold."""

    line_id: str
    product_id: str
    name: str
    quantity: int
    unit_price: MoneyOut
    line_total: MoneyOut


class OrderTotalsOut(Output):
    """What an order costs."""

    subtotal: MoneyOut
    discount: MoneyOut
    shipping: MoneyOut
    tax: MoneyOut
    total: MoneyOut


class PaymentInfoOut(Output):
    """Pending → Captured or Failed; when it is taken back Cancelling → Voided or Refunded."""

    payment_id: str
    status: str
    processed_at: datetime | None
    transaction_id: str | None


class ShipmentInfoOut(Output):
    """Created → InTransit → Delivered, or Exception on the way."""

    shipment_id: str
    status: str
    carrier: str
    tracking_number: str
    estimated_delivery: date | None
    actual_delivery: datetime | None


class OrderAsOfOut(Output):
    """An order as it was: what orders itself knew of it."""

    order_id: str
    customer_id: str
    status: str
    cancel_reason: str | None
    total_amount: MoneyOut
    currency: str
    totals: OrderTotalsOut
    item_count: int
    items: list[OrderedItemOut]
    shipping_address: AddressOut | None
    created_at: datetime

    @classmethod
    def of(cls, summary: OrderSummary) -> OrderAsOfOut:
        return cls(**_order(summary))


class OrderSummaryOut(OrderAsOfOut):
    """An order with its payment, once there is one, and its shipment, once it is on its way."""

    payment_info: PaymentInfoOut | None
    shipment_info: ShipmentInfoOut | None

    @classmethod
    def of(cls, summary: OrderSummary) -> OrderSummaryOut:
        return cls(
            **_order(summary), payment_info=_payment(summary), shipment_info=_shipment(summary)
        )


def _order(summary: OrderSummary) -> dict[str, Any]:
    return {
        "order_id": summary.order_id,
        "customer_id": summary.customer_id,
        "status": summary.status,
        "cancel_reason": summary.cancel_reason or None,
        "total_amount": summary.total,
        "currency": summary.currency,
        "totals": OrderTotalsOut.model_validate(summary),
        "item_count": summary.item_count,
        "items": [OrderedItemOut.model_validate(line) for line in summary.lines],
        "shipping_address": summary.shipping_address
        and AddressOut.model_validate(summary.shipping_address),
        "created_at": summary.created_at,
    }


def _payment(summary: OrderSummary) -> PaymentInfoOut | None:
    if not summary.payment_status:
        return None
    return PaymentInfoOut(
        payment_id=summary.payment_id,
        status=summary.payment_status,
        processed_at=summary.payment_processed_at,
        transaction_id=summary.transaction_id or None,
    )


def _shipment(summary: OrderSummary) -> ShipmentInfoOut | None:
    if not summary.shipment_status:
        return None
    return ShipmentInfoOut(
        shipment_id=summary.shipment_id,
        status=summary.shipment_status,
        carrier=summary.carrier,
        tracking_number=summary.tracking_number,
        estimated_delivery=summary.estimated_delivery,
        actual_delivery=summary.actual_delivery,
    )
