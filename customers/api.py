"""Customers and their orders over HTTP, from read models.

An order that orders has accepted and the read model has not seen yet is answered by orders itself:
whoever placed it has its address already.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.db.models import QuerySet
from ninja import Query

from ecommerce.identity import tenants
from ecommerce.messaging.errors import NotFound
from ecommerce.messaging.folds import Moment
from ecommerce.web import ApiRequest, Caller, PageOf, Paging, Router, allow, page, reads
from orders import queries as orders

from . import queries
from .models import OrderSummary
from .schemas import (
    AllOrders,
    AsOf,
    CustomerOut,
    OrderAsOfOut,
    OrdersOfCustomer,
    OrderSummaryOut,
)

router = Router(tags=["customers"])


@router.get("/customers/{customer_id}", auth=allow("customers:read"), response=CustomerOut)
@reads("customers")
def customer(request: ApiRequest, customer_id: str) -> CustomerOut:
    """What a customer's orders add up to."""
    caller = request.auth
    _require_customer(caller, customer_id)
    activity = queries.customer(caller.tenant, customer_id)
    if activity is None:
        currency = tenants.currency_of(caller.tenant)
        return CustomerOut(customer_id=customer_id, currency=currency)
    return CustomerOut.of(activity)


@router.get(
    "/customers/{customer_id}/orders",
    auth=allow("orders:read"),
    response=PageOf[OrderSummaryOut],
)
@reads("customers")
def orders_of_customer(
    request: ApiRequest, customer_id: str, wanted: Query[OrdersOfCustomer]
) -> PageOf[OrderSummaryOut]:
    """A customer's orders, newest first."""
    caller = request.auth
    _require_customer(caller, customer_id)
    found = queries.orders_of(caller.tenant, customer_id, status=wanted.status)
    return _page(found, wanted)


@router.get("/orders", auth=allow("orders:read"), response=PageOf[OrderSummaryOut])
@reads("customers")
def list_orders(request: ApiRequest, wanted: Query[AllOrders]) -> PageOf[OrderSummaryOut]:
    """All orders, newest first. A customer gets their own."""
    caller = request.auth
    found = queries.orders(caller.tenant, status=wanted.status, customer_id=wanted.customer_id)
    if caller.customer_id is not None:
        found = found.filter(customer_id=caller.customer_id)
    return _page(found, wanted)


@router.get(
    "/orders/{order_id}", auth=allow("orders:read"), response=OrderSummaryOut | OrderAsOfOut
)
@reads("customers")
def order_summary(
    request: ApiRequest, order_id: str, wanted: Query[AsOf]
) -> OrderSummaryOut | OrderAsOfOut:
    """An order with its payment and shipment.

    With `asOf` it is the order alone, as its events had made it by then.
    """
    caller = request.auth
    if wanted.as_of is not None:
        return OrderAsOfOut.of(_as_it_was(caller, order_id, wanted.as_of))
    summary = queries.order_summary(caller.tenant, order_id) or _just_placed(caller, order_id)
    if summary is None or not caller.owns(summary.customer_id):
        raise NotFound(f"there is no order {order_id!r}")
    return OrderSummaryOut.of(summary)


def _require_customer(caller: Caller, customer_id: str) -> None:
    """Raises NotFound for a customer who is unknown, or not the caller's to see."""
    if not caller.owns(customer_id) or queries.profile(caller.tenant, customer_id) is None:
        raise NotFound(f"there is no customer {customer_id!r}")


def _page(found: QuerySet[OrderSummary], paging: Paging) -> PageOf[OrderSummaryOut]:
    rows = page(found, paging, by="created_at")
    items = [OrderSummaryOut.of(summary) for summary in rows.items]
    return PageOf[OrderSummaryOut](items=items, next=rows.next)


def _just_placed(caller: Caller, order_id: str) -> OrderSummary | None:
    """The summary of an order that orders has, and the read model has not seen yet."""
    order = orders.find_order(caller.tenant, order_id)
    return None if order is None else _summary(order)


def _as_it_was(caller: Caller, order_id: str, moment: Moment) -> OrderSummary:
    past = orders.order_as_of(caller.tenant, order_id, moment)
    if past is None or not caller.owns(past.row.customer_id):
        raise NotFound(f"there was no order {order_id!r} then")
    return _summary(past.row)


def _summary(order: Any) -> OrderSummary:
    """An order as orders has it, not stored: without payment and shipment."""
    return OrderSummary(
        tenant=order.tenant,
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        cancel_reason=order.cancel_reason,
        currency=order.currency,
        subtotal=order.subtotal,
        discount=order.discount,
        shipping=order.shipping,
        tax=order.tax,
        total=order.total,
        item_count=len(order.lines),
        lines=[
            {**line, "line_total": line["unit_price"] * line["quantity"]} for line in order.lines
        ],
        shipping_address=order.shipping_address,
        created_at=order.created_at.astimezone(UTC),
    )
