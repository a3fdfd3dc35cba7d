"""The fulfilment of an order, from its reservation to the carrier, or back.

    CreateOrder
        │ → ReserveInventory
        ▼
    reserving ───── InventoryInsufficient · cancel* · deadline* ─────────────────┐
        │ InventoryReserved                                                      │
        │ → ProcessPayment                                                       │
        ▼                                                                        │
    paying ──────── PaymentFailed* · deadline* → RefundPayment ──────────────────┤
        │     └──── cancel → RefundPayment ──► cancelling ── answer* · deadline* ┤
        │ PaymentProcessed                                                       │
        │ → CreateShipment: the point of no return                               │
        ▼                                                                        ▼
    shipping ────── ShipmentFailed* → RefundPayment ────────────────────────► closed
        │     └──── deadline: an operator must look
        │ ShipmentCreated                            * → ReleaseInventory as well
        │ → CommitInventory
        ▼
      done ──────── ShipmentDelivered: the order is Delivered

The row `Fulfilment` decides; the order's status follows by events. There is one function for each
service that answers, so that its answers stay in order even when one of them fails and is tried
again. An answer that fits no case is a duplicate, or comes too late to matter: nothing happens.
Two late ones do matter, because they hold stock or money for an order that is closed; they are
compensated.

Every open step has a deadline, in one column. A reservation holds unpaid stock for so long at
most, so its expiry is the deadline of `reserving` and of `paying`.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from ecommerce.identity.tenants import local_time
from ecommerce.messaging.context import Context
from ecommerce.messaging.deadlines import deadline
from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.messages import Message
from ecommerce.messaging.registry import handles
from ecommerce.values import Money
from inventory.contracts import (
    CommitInventory,
    InventoryInsufficient,
    InventoryReserved,
    ReleaseInventory,
    ReserveInventory,
    WantedLine,
)
from payments.contracts import (
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PaymentVoided,
    ProcessPayment,
    RefundPayment,
)
from shipping.contracts import (
    CreateShipment,
    ParcelLine,
    ShipmentCreated,
    ShipmentDelivered,
    ShipmentFailed,
)

from .contracts import (
    CancelReason,
    ExpireOrder,
    OrderCancellationRequested,
    OrderCancelled,
    OrderDelivered,
    OrderPaid,
    OrderReserved,
    OrderShipped,
    OrderStalled,
)
from .models import Fulfilment, Order

RESERVATION = timedelta(minutes=settings.RESERVATION_MINUTES)
CANCELLING = timedelta(minutes=5)
SHIPPING = timedelta(minutes=30)


def begin(order: Order, context: Context) -> tuple[Fulfilment, ReserveInventory]:
    """Ask for the stock of a new order."""
    expires_at = context.now + RESERVATION
    saga = Fulfilment(tenant=context.tenant, order_id=order.order_id)
    saga.wait("reserving", until=expires_at)
    wanted = tuple(
        WantedLine(line_id=line.line_id, product_id=line.product_id, quantity=line.quantity)
        for line in order.order_lines
    )
    return saga, ReserveInventory(order_id=order.order_id, lines=wanted, expires_at=expires_at)


@handles
def inventory_answered(
    event: InventoryReserved | InventoryInsufficient,
    saga: Fulfilment,
    order: Order,
    context: Context,
) -> list[Message]:
    """With stock, take the money; without, the order is over."""
    match saga.step, event:
        case "reserving", InventoryReserved(expires_at=expires_at):
            saga.wait("paying", until=expires_at)
            return [order.record(OrderReserved(order_id=order.order_id)), _charge(order)]
        case "reserving", InventoryInsufficient():
            return [_cancelled(saga, order, "insufficient_stock", context)]
        case "closed", InventoryReserved():
            return [_release(saga, order)]
    return []


@handles
def payment_answered(
    event: PaymentProcessed | PaymentFailed | PaymentVoided | PaymentRefunded,
    saga: Fulfilment,
    order: Order,
    context: Context,
) -> list[Message]:
    """With the money, ship; without, the order is over. `cancelling` waits for the money's end."""
    match saga.step, event:
        case "paying", PaymentProcessed(payment_id=payment_id):
            saga.wait("shipping", until=context.now + SHIPPING)
            paid = OrderPaid(order_id=order.order_id, payment_id=payment_id)
            return [order.record(paid), _ship(order)]
        case "paying", PaymentFailed() | PaymentVoided() | PaymentRefunded():
            cancelled = _cancelled(saga, order, "payment_declined", context)
            return [cancelled, _release(saga, order)]
        case "cancelling", PaymentFailed() | PaymentVoided() | PaymentRefunded():
            cancelled = _cancelled(saga, order, saga.reason, context)
            return [cancelled, _release(saga, order)]
        case "closed", PaymentProcessed() if not saga.refund_requested:
            return [_refund(saga, order)]
    return []


@handles
def shipping_answered(
    event: ShipmentCreated | ShipmentFailed | ShipmentDelivered,
    saga: Fulfilment,
    order: Order,
    context: Context,
) -> list[Message]:
    """With the carrier, the stock is gone for good; without one, everything is undone."""
    match saga.step, event:
        case "shipping", ShipmentCreated(shipment_id=shipment_id, tracking_number=tracking_number):
            saga.finish()
            shipped = OrderShipped(
                order_id=order.order_id, shipment_id=shipment_id, tracking_number=tracking_number
            )
            commit = CommitInventory(order_id=order.order_id, product_ids=order.product_ids)
            return [order.record(shipped), commit]
        case "shipping", ShipmentFailed():
            cancelled = _cancelled(saga, order, "shipment_failed", context)
            return [cancelled, _refund(saga, order), _release(saga, order)]
        case "done", ShipmentDelivered(delivered_at=delivered_at) if order.status == "Shipped":
            delivered = OrderDelivered(order_id=order.order_id, delivered_at=delivered_at)
            return [order.record(delivered)]
        case "closed", ShipmentCreated(shipment_id=shipment_id):
            saga.attention = f"shipment {shipment_id} was created after the order was cancelled"
    return []


def cancel(saga: Fulfilment, order: Order, reason: CancelReason, context: Context) -> list[Message]:
    """Call the order off; while the payment may be under way, its answer is awaited first.

    Raises Conflict once the shipment was asked for, and for an order that is cancelled already.
    """
    match saga.step:
        case "reserving":
            return [_cancelled(saga, order, reason, context), _release(saga, order)]
        case "paying":
            saga.wait("cancelling", until=context.now + CANCELLING)
            saga.cancel_reason = reason
            requested = OrderCancellationRequested(order_id=order.order_id, reason=reason)
            return [order.record(requested), _refund(saga, order)]
        case "cancelling" | "closed":
            detail = f"order {order.order_id} is {order.status} already"
            raise Conflict(detail, code="already-cancelled", orderStatus=order.status)
        case _:
            detail = f"order {order.order_id} is {order.status}: it was handed to shipping"
            raise Conflict(detail, code="too-late-to-cancel", orderStatus=order.status)


deadline(
    Fulfilment,
    column="deadline_at",
    message=lambda row: ExpireOrder(order_id=row.order_id, deadline=row.deadline_at),
)


@handles
def expire_order(
    command: ExpireOrder, saga: Fulfilment, order: Order, context: Context
) -> list[Message]:
    """Stop waiting, unless the answer has overtaken the deadline."""
    if not saga.has_outlived(command.deadline):
        return []
    match saga.step:
        case "reserving":
            cancelled = _cancelled(saga, order, "reservation_timeout", context)
            return [cancelled, _release(saga, order)]
        case "paying":
            cancelled = _cancelled(saga, order, "payment_timeout", context)
            return [cancelled, _refund(saga, order), _release(saga, order)]
        case "cancelling":
            cancelled = _cancelled(saga, order, saga.reason, context)
            return [cancelled, _release(saga, order)]
        case "shipping" if not saga.attention:
            saga.stall(f"shipping had not answered by {command.deadline:%Y-%m-%d %H:%M} UTC")
            return [order.record(OrderStalled(order_id=order.order_id, step="shipping"))]
    return []


def _charge(order: Order) -> ProcessPayment:
    return ProcessPayment(
        order_id=order.order_id,
        customer_id=order.customer_id,
        amount=Money(order.total, order.currency),
        method=order.payment_method,
    )


def _refund(saga: Fulfilment, order: Order) -> RefundPayment:
    saga.refund_requested = True
    return RefundPayment(order_id=order.order_id, reason=saga.reason)


def _release(saga: Fulfilment, order: Order) -> ReleaseInventory:
    return ReleaseInventory(
        order_id=order.order_id, product_ids=order.product_ids, reason=saga.reason
    )


def _ship(order: Order) -> CreateShipment:
    return CreateShipment(
        order_id=order.order_id,
        customer_id=order.customer_id,
        lines=tuple(
            ParcelLine(line_id=line.line_id, product_id=line.product_id, quantity=line.quantity)
            for line in order.order_lines
        ),
        address=order.address,
    )


def _cancelled(
    saga: Fulfilment, order: Order, reason: CancelReason, context: Context
) -> OrderCancelled:
    """Close the saga and cancel the order."""
    saga.close(reason)
    return order.record(
        OrderCancelled(
            order_id=order.order_id,
            customer_id=order.customer_id,
            reason=reason,
            lines=order.order_lines,
            totals=order.totals,
            created_at=local_time(order.created_at, context.tenant),
            cancelled_at=local_time(context.now, context.tenant),
        )
    )
