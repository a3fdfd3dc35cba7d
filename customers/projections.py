"""The shop's catalogue, orders as people see them and what they add up to, from other services' events.

There is one function per source and read model: a delivery that fails holds back what follows it
in its function, so each source's own order holds, which is all that these functions rely on.
"""

from __future__ import annotations

from datetime import UTC

import msgspec

from ecommerce.messaging.context import Context
from ecommerce.messaging.registry import projects
from inventory.contracts import (
    InventoryAdjusted,
    InventoryRestocked,
    ProductCreated,
    StockReleased,
    StockReserved,
)
from orders.contracts import (
    OrderCancellationRequested,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderLine,
    OrderPaid,
    OrderReserved,
    OrderShipped,
)
from payments.contracts import (
    PaymentCancellationRequested,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PaymentRequested,
    PaymentVoided,
)
from shipping.contracts import ShipmentCreated, ShipmentDelivered, ShipmentStatusChanged

from .models import CustomerActivity, OrderSummary, Product


@projects
def order_summary_from_orders(
    event: OrderCreated
    | OrderReserved
    | OrderPaid
    | OrderShipped
    | OrderDelivered
    | OrderCancellationRequested
    | OrderCancelled,
    summary: OrderSummary | None,
    context: Context,
) -> OrderSummary:
    """What was ordered, and how far it has come."""
    summary = summary or OrderSummary(order_id=event.order_id)
    summary.heard(context.recorded_at)
    match event:
        case OrderCreated():
            _place(summary, event)
        case OrderReserved():
            summary.status = "Reserved"
        case OrderPaid():
            summary.status = "Paid"
        case OrderShipped():
            summary.status = "Shipped"
        case OrderDelivered():
            summary.status = "Delivered"
        case OrderCancellationRequested():
            summary.status, summary.cancel_reason = "Cancelling", event.reason
        case OrderCancelled():
            summary.status, summary.cancel_reason = "Cancelled", event.reason
    summary.reached = {
        summary.status: context.recorded_at.astimezone(UTC).isoformat()
    } | summary.reached
    return summary


@projects
def order_summary_from_payments(
    event: PaymentRequested
    | PaymentProcessed
    | PaymentFailed
    | PaymentCancellationRequested
    | PaymentVoided
    | PaymentRefunded,
    summary: OrderSummary | None,
    context: Context,
) -> OrderSummary:
    """What became of the money."""
    summary = summary or OrderSummary(order_id=event.order_id)
    summary.heard(context.recorded_at)
    summary.payment_id = event.payment_id
    match event:
        case PaymentRequested():
            summary.payment_status = "Pending"
        case PaymentProcessed():
            summary.payment_status = "Captured"
            summary.payment_processed_at = event.processed_at
            summary.transaction_id = event.transaction_id
        case PaymentFailed():
            summary.payment_status = "Failed"
        case PaymentCancellationRequested():
            summary.payment_status = "Cancelling"
        case PaymentVoided():
            summary.payment_status = "Voided"
        case PaymentRefunded():
            summary.payment_status = "Refunded"
            summary.transaction_id = event.transaction_id
    return summary


@projects
def order_summary_from_shipping(
    event: ShipmentCreated | ShipmentStatusChanged | ShipmentDelivered,
    summary: OrderSummary | None,
    context: Context,
) -> OrderSummary:
    """Where the goods are."""
    summary = summary or OrderSummary(order_id=event.order_id)
    summary.heard(context.recorded_at)
    summary.shipment_id = event.shipment_id
    match event:
        case ShipmentCreated():
            summary.shipment_status = "Created"
            summary.carrier = event.carrier
            summary.tracking_number = event.tracking_number
            summary.estimated_delivery = event.estimated_delivery
        case ShipmentStatusChanged():
            summary.shipment_status = event.status
        case ShipmentDelivered():
            summary.shipment_status = "Delivered"
            summary.actual_delivery = event.delivered_at
    return summary


@projects
def customer_activity(
    event: OrderCreated | OrderCancelled, activity: CustomerActivity | None
) -> CustomerActivity:
    """Count an order when it is placed, and take it off when it is cancelled."""
    activity = activity or CustomerActivity(customer_id=event.customer_id)
    sign = 1 if isinstance(event, OrderCreated) else -1
    currency = event.totals.currency
    activity.count(sign, sign * event.totals.total, currency)
    activity.saw(event.order_id, event.created_at, currency)
    return activity


@projects
def catalogue(
    event: ProductCreated | InventoryRestocked | InventoryAdjusted | StockReserved | StockReleased,
    product: Product | None,
) -> Product | None:
    """What the shop shows of a product, and how many can be ordered.

    What leaves the warehouse was reserved before, so that it changes nothing here.
    """
    missing = product is None
    product = product or Product(product_id=event.product_id)
    match event:
        case ProductCreated():
            product.name, product.description = event.name, event.description
            product.category, product.image_url = event.category, event.image_url or ""
            product.price, product.currency = event.price, event.currency
            product.created_at = event.created_at
        case InventoryRestocked() | StockReleased():
            product.available += event.quantity
        case InventoryAdjusted():
            product.available += event.change
        case StockReserved():
            product.available -= event.quantity
    return product if missing else None


def _place(summary: OrderSummary, event: OrderCreated) -> None:
    totals = event.totals
    summary.status = "Pending"
    summary.customer_id, summary.created_at = event.customer_id, event.created_at
    summary.currency = totals.currency
    summary.subtotal, summary.discount = totals.subtotal, totals.discount
    summary.shipping, summary.tax, summary.total = totals.shipping, totals.tax, totals.total
    summary.item_count = len(event.lines)
    summary.lines = [_line(line) for line in event.lines]
    summary.shipping_address = msgspec.to_builtins(event.shipping_address)


def _line(line: OrderLine) -> dict[str, str | int]:
    return {
        "line_id": line.line_id,
        "product_id": line.product_id,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "line_total": line.line_total,
    }
