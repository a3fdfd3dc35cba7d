"""Things that the tests of the customers service are about: the order `o1` of `cust-123`."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from ecommerce.values import Address, Money
from orders.contracts import OrderCancelled, OrderCreated, OrderLine, Totals
from payments.contracts import PaymentProcessed, PaymentRefunded, PaymentRequested
from shipping.contracts import ShipmentCreated
from tests.projecting import NOW

LOCAL = datetime.fromisoformat("2026-03-02T00:30:00+01:00")
ADDRESS = Address("123 Main St", "Springfield", "IL", "62701", "US")
LINES = (
    OrderLine(line_id="1", product_id="prod-456", name="Mouse", quantity=2, unit_price=1999),
    OrderLine(line_id="2", product_id="prod-789", name="Keyboard", quantity=1, unit_price=4950),
)


def totals(total: int = 8948, currency: str = "USD") -> Totals:
    return Totals(currency=currency, subtotal=total, discount=0, shipping=0, tax=0, total=total)


def created(
    order_id: str = "o1",
    *,
    customer_id: str = "cust-123",
    total: int = 8948,
    currency: str = "USD",
    at: datetime = LOCAL,
) -> OrderCreated:
    return OrderCreated(
        order_id=order_id,
        customer_id=customer_id,
        lines=LINES,
        totals=totals(total, currency),
        payment_method="card_approved",
        created_at=at,
        shipping_address=ADDRESS,
    )


def cancelled(placed: OrderCreated, reason: Any = "customer_request") -> OrderCancelled:
    return OrderCancelled(
        order_id=placed.order_id,
        customer_id=placed.customer_id,
        reason=reason,
        lines=placed.lines,
        totals=placed.totals,
        created_at=placed.created_at,
        cancelled_at=placed.created_at + timedelta(days=1),
    )


def payment_requested() -> PaymentRequested:
    return PaymentRequested(
        order_id="o1",
        payment_id="pay-o1",
        customer_id="cust-123",
        attempt=1,
        amount=Money(8948, "USD"),
        method="card_approved",
    )


def processed() -> PaymentProcessed:
    return PaymentProcessed(
        order_id="o1",
        customer_id="cust-123",
        payment_id="pay-o1",
        transaction_id="txn-1",
        amount=Money(8948, "USD"),
        method="card_approved",
        processed_at=NOW,
    )


def refunded() -> PaymentRefunded:
    return PaymentRefunded(
        order_id="o1",
        payment_id="pay-o1",
        transaction_id="txn-1",
        refund_id="re-1",
        amount=Money(8948, "USD"),
        refunded_at=NOW,
    )


def shipment() -> ShipmentCreated:
    return ShipmentCreated(
        order_id="o1",
        customer_id="cust-123",
        shipment_id="shp-o1",
        carrier="SwiftParcel",
        tracking_number="T1",
        label_url="/labels/shp-o1",
        cost=Money(500, "USD"),
        estimated_delivery=date(2026, 3, 5),
    )
