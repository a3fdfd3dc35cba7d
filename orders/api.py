"""The orders service over HTTP: place an order, cancel it, see what happened to it.

One order's summary, now and then, and lists of orders are answered by the customers service.
"""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Query

from ecommerce.messaging.bus import Outcome
from ecommerce.messaging.errors import NotFound
from ecommerce.messaging.folds import Moment, Past, changes
from ecommerce.messaging.models import uuid7
from ecommerce.web import ApiRequest, Between, Caller, Router, allow, run

from . import queries
from .contracts import CancelOrder
from .models import Order
from .schemas import HistoryOut, NewOrder, OrderDiffOut, OrderOut

router = Router(tags=["orders"])


@router.post("/orders", auth=allow("orders:write"), response={201: OrderOut})
def create_order(request: ApiRequest, order: NewOrder) -> HttpResponse:
    """Place an order.

    Prices are those of the catalogue. The order is answered as `Pending`; stock, payment and
    shipment follow within moments, and `GET /api/orders/{orderId}` shows them.
    """
    if not request.auth.owns(order.customer_id):
        raise NotFound(f"there is no customer {order.customer_id!r}")
    command = order.command(order_id=str(uuid7()))
    return run(request, command, location=f"/api/orders/{command.order_id}", body=_shown)


@router.post("/orders/{order_id}/cancel", auth=allow("orders:write"), response=OrderOut)
def cancel_order(request: ApiRequest, order_id: str) -> HttpResponse:
    """Cancel an order that was not handed to shipping.

    While a payment may be under way the order is answered as `Cancelling`; it ends as
    `Cancelled`, with the money voided or refunded.
    """
    order = _own_order(request.auth, order_id)
    command = CancelOrder(order_id=order.order_id)
    return run(request, command, status=200, body=_shown, person=order.customer_id)


@router.get("/orders/{order_id}/history", auth=allow("orders:read"), response=HistoryOut)
def order_history(request: ApiRequest, order_id: str) -> HistoryOut:
    """Every event of an order: what happened, when, and by whom."""
    order = _own_order(request.auth, order_id)
    return HistoryOut.of(order.order_id, queries.history(order.tenant, order.order_id))


@router.get("/orders/{order_id}/diff", auth=allow("orders:read"), response=OrderDiffOut)
def order_diff(request: ApiRequest, order_id: str, between: Query[Between]) -> OrderDiffOut:
    """What has changed about an order between two versions or instants."""
    before, after = (
        _own_order_as_of(request.auth, order_id, moment) for moment in (between.begin, between.to)
    )
    return OrderDiffOut.of(order_id, before, after, changes(before.row, after.row))


def _own_order(caller: Caller, order_id: str) -> Order:
    """The order, if the caller may see it. Raises NotFound."""
    order = queries.find_order(caller.tenant, order_id)
    if order is None or not caller.owns(order.customer_id):
        raise NotFound(f"there is no order {order_id!r}")
    return order


def _own_order_as_of(caller: Caller, order_id: str, moment: Moment | None) -> Past[Order]:
    """The order as it was, if the caller may see it. Raises NotFound."""
    past = queries.order_as_of(caller.tenant, order_id, moment)
    if past is None or not caller.owns(past.row.customer_id):
        raise NotFound(f"there was no order {order_id!r} then")
    return past


def _shown(outcome: Outcome) -> OrderOut:
    return OrderOut.model_validate(outcome.row(Order))
