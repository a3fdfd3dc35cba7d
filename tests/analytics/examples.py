"""Things that the tests of the analytics service are about: orders of a shop east of UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from inventory.contracts import ProductCreated
from orders.contracts import (
    CancelReason,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderLine,
    OrderPaid,
    OrderReserved,
    OrderShipped,
    Totals,
)
from tests import projecting

MORNING = datetime.fromisoformat("2026-03-02T00:45:10+05:30")
"""On the first of March by UTC, and in an hour that begins at half past by it."""
NEXT_DAY = datetime.fromisoformat("2026-03-03T10:05:00+05:30")
MOUSE = OrderLine(line_id="1", product_id="mouse", name="Mouse", quantity=2, unit_price=1000)
MORE_MICE = OrderLine(line_id="2", product_id="mouse", name="Mouse", quantity=1, unit_price=900)
DESK = OrderLine(line_id="3", product_id="desk", name="Desk", quantity=1, unit_price=20000)


def placed(
    order_id: str = "o1",
    *lines: OrderLine,
    customer_id: str = "cust-1",
    at: datetime = MORNING,
    currency: str = "USD",
    shipping: int = 0,
) -> OrderCreated:
    lines = lines or (MOUSE,)
    subtotal = sum(line.line_total for line in lines)
    return OrderCreated(
        order_id=order_id,
        customer_id=customer_id,
        lines=lines,
        totals=Totals(
            currency=currency,
            subtotal=subtotal,
            discount=0,
            shipping=shipping,
            tax=0,
            total=subtotal + shipping,
        ),
        payment_method="card_approved",
        created_at=at,
    )


def cancelled(
    order: OrderCreated, at: datetime = NEXT_DAY, reason: CancelReason = "customer_request"
) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        reason=reason,
        lines=order.lines,
        totals=order.totals,
        created_at=order.created_at,
        cancelled_at=at,
    )


def steps(order_id: str = "o1", count: int = 4) -> list[Message]:
    """The first so many steps of an order that goes well."""
    return [
        OrderReserved(order_id=order_id),
        OrderPaid(order_id=order_id, payment_id=f"pay-{order_id}"),
        OrderShipped(order_id=order_id, shipment_id=f"shp-{order_id}", tracking_number="T1"),
        OrderDelivered(order_id=order_id, delivered_at=NEXT_DAY),
    ][:count]


def product(product_id: str = "mouse", name: str = "Mouse") -> ProductCreated:
    return ProductCreated(
        product_id=product_id,
        name=name,
        description="",
        price=1000,
        currency="USD",
        image_url=None,
        created_at=MORNING,
    )


def project(events: Iterable[Message], tenant: str = "main") -> list[Row]:
    """The rows that analytics makes of these events."""
    return projecting.project("analytics", [(e, projecting.context(tenant=tenant)) for e in events])
