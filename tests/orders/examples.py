"""Things that the tests of the orders service are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from ecommerce.messaging.context import Context
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import Rows
from ecommerce.values import Address, Money
from inventory.contracts import InventoryReserved, ReservedLine
from orders import saga
from orders.contracts import (
    CreateOrder,
    OrderCancelled,
    OrderCreated,
    OrderLine,
    RequestedLine,
    Totals,
)
from orders.models import CatalogueItem, Fulfilment, Order
from payments.contracts import PaymentFailed, PaymentProcessed, PaymentRefunded, PaymentVoided
from shipping.contracts import ShipmentCreated, ShipmentDelivered, ShipmentFailed

NOW = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
LOCAL = "2026-03-02T00:30:00+01:00"
EXPIRY = NOW + timedelta(minutes=15)
ADDRESS = Address("123 Main St", "Springfield", "IL", "62701", "US")
LINES = (
    OrderLine(line_id="1", product_id="prod-456", name="Mouse", quantity=2, unit_price=1999),
    OrderLine(line_id="2", product_id="prod-789", name="Keyboard", quantity=1, unit_price=4950),
)
TOTALS = Totals(currency="USD", subtotal=8948, discount=0, shipping=0, tax=0, total=8948)
PRICE = Money(8948, "USD")
PRODUCTS = ("prod-456", "prod-789")


def context(now: datetime = NOW) -> Context:
    message = UUID(int=1)
    return Context(
        tenant="main",
        actor="user:1",
        message_id=message,
        correlation_id=message,
        cause_id=None,
        traceparent=None,
        recorded_at=now,
        now=now,
    )


def catalogue(**changes: CatalogueItem) -> Rows[CatalogueItem]:
    items = [
        CatalogueItem(product_id="prod-456", name="Mouse", price=1999, currency="USD"),
        CatalogueItem(product_id="prod-789", name="Keyboard", price=4950, currency="USD"),
        *changes.values(),
    ]
    return Rows({item.product_id: item for item in items})


def wanted(
    product_id: str = "prod-456", quantity: int = 2, price: int | None = None
) -> RequestedLine:
    return RequestedLine(product_id=product_id, quantity=quantity, unit_price=price)


def new_order(*lines: RequestedLine, **fields: Any) -> CreateOrder:
    lines = lines or (wanted(), wanted("prod-789", 1))
    given = {"order_id": "o1", "customer_id": "cust-123", "shipping_address": ADDRESS, **fields}
    return CreateOrder(lines=lines, **given)


def created() -> OrderCreated:
    return OrderCreated(
        order_id="o1",
        customer_id="cust-123",
        lines=LINES,
        totals=TOTALS,
        payment_method="card_approved",
        created_at=datetime.fromisoformat(LOCAL),
        shipping_address=ADDRESS,
    )


def cancelled(reason: Any) -> OrderCancelled:
    return OrderCancelled(
        order_id="o1",
        customer_id="cust-123",
        reason=reason,
        lines=LINES,
        totals=TOTALS,
        created_at=datetime.fromisoformat(LOCAL),
        cancelled_at=datetime.fromisoformat(LOCAL),
    )


def state(*rows: Row) -> list[dict[str, Any]]:
    """All columns of rows but the surrogate key."""
    return [
        {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}
        for row in rows
    ]


def pending() -> tuple[Fulfilment, Order]:
    """An order that waits for its stock."""
    order = Order(tenant="main")
    order.record(created())
    fulfilment, _ = saga.begin(order, context())
    return fulfilment, order


def paying() -> tuple[Fulfilment, Order]:
    """An order that waits for its payment."""
    fulfilment, order = pending()
    saga.inventory_answered(reserved(), fulfilment, order, context())
    return fulfilment, order


def cancelling() -> tuple[Fulfilment, Order]:
    """An order that its customer cancelled while it waited for its payment."""
    fulfilment, order = paying()
    saga.cancel(fulfilment, order, "customer_request", context())
    return fulfilment, order


def shipping() -> tuple[Fulfilment, Order]:
    """An order that is paid and waits for the carrier."""
    fulfilment, order = paying()
    saga.payment_answered(processed(), fulfilment, order, context())
    return fulfilment, order


def shipped() -> tuple[Fulfilment, Order]:
    """An order that the carrier has."""
    fulfilment, order = shipping()
    saga.shipping_answered(shipment(), fulfilment, order, context())
    return fulfilment, order


def closed() -> tuple[Fulfilment, Order]:
    """An order that its customer cancelled before there was stock for it."""
    fulfilment, order = pending()
    saga.cancel(fulfilment, order, "customer_request", context())
    return fulfilment, order


def reserved() -> InventoryReserved:
    lines = tuple(
        ReservedLine(
            line_id=line.line_id,
            product_id=line.product_id,
            quantity=line.quantity,
            warehouse="main",
        )
        for line in LINES
    )
    return InventoryReserved(order_id="o1", lines=lines, expires_at=EXPIRY)


def processed() -> PaymentProcessed:
    return PaymentProcessed(
        order_id="o1",
        customer_id="cust-123",
        payment_id="pay-1",
        transaction_id="txn-1",
        amount=PRICE,
        method="card_approved",
        processed_at=NOW,
    )


def declined() -> PaymentFailed:
    return PaymentFailed(order_id="o1", payment_id="pay-1", code="card_declined", reason="Declined")


def voided() -> PaymentVoided:
    return PaymentVoided(order_id="o1", payment_id="pay-1")


def refunded() -> PaymentRefunded:
    return PaymentRefunded(
        order_id="o1",
        payment_id="pay-1",
        transaction_id="txn-1",
        refund_id="re-1",
        amount=PRICE,
        refunded_at=NOW,
    )


def shipment() -> ShipmentCreated:
    return ShipmentCreated(
        order_id="o1",
        customer_id="cust-123",
        shipment_id="shp-1",
        carrier="Simulated",
        tracking_number="T1",
        label_url="/labels/shp-1",
        cost=Money(500, "USD"),
        estimated_delivery=NOW.date(),
    )


def not_shipped() -> ShipmentFailed:
    return ShipmentFailed(order_id="o1", shipment_id="shp-1", reason="unknown address")


def delivered() -> ShipmentDelivered:
    return ShipmentDelivered(order_id="o1", shipment_id="shp-1", delivered_at=NOW)
