"""The orders service over HTTP: place an order, cancel it, see what happened to it.

One order's summary and lists of orders are answered by the customers service.
"""

from __future__ import annotations

from django.http import HttpResponse

from ecommerce.messaging.bus import Outcome
from ecommerce.messaging.errors import NotFound
from ecommerce.messaging.models import uuid7
from ecommerce.web import ApiRequest, Caller, Router, allow, run

from . import queries
from .contracts import CancelOrder
from .models import Order
from .schemas import HistoryOut, NewOrder, OrderOut

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


def _own_order(caller: Caller, order_id: str) -> Order:
    """The order, if the caller may see it. Raises NotFound."""
    order = queries.find_order(caller.tenant, order_id)
    if order is None or not caller.owns(order.customer_id):
        raise NotFound(f"there is no order {order_id!r}")
    return order


def _shown(outcome: Outcome) -> OrderOut:
    return OrderOut.model_validate(outcome.row(Order))
