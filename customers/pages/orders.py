"""Orders: all of one's own, and one as it goes through.

An order is seen by its customer, by staff, and by whoever has its address with the key in it: so a
guest finds it again. To everybody else it does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.core.signing import Signer
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_POST, require_safe

from customers import queries
from customers.contracts import AddToCart, CartLine
from customers.models import OrderSummary
from ecommerce.messaging import bus
from ecommerce.messaging.errors import Refused
from ecommerce.web import find_fresh, live
from orders.contracts import CancelOrder

from .visitor import Visitor, show, visitor, with_cart

live.topic("orders", service="customers", statement=queries.WATCHED_ORDERS)

ON_A_PAGE = 10
RESERVATION = timedelta(minutes=settings.RESERVATION_MINUTES)
CANCELLABLE = {"Pending", "Reserved"}
REASONS = {
    "customer_request": "You cancelled it.",
    "insufficient_stock": "We had too few left when your order came in.",
    "reservation_timeout": "We could not hold the stock in time.",
    "payment_declined": "The card was declined.",
    "payment_timeout": "The bank did not answer in time.",
    "shipment_failed": "The carrier cannot deliver to this address.",
}
STOPPED_AT = {
    "insufficient_stock": "Reserved",
    "reservation_timeout": "Reserved",
    "payment_declined": "Paid",
    "payment_timeout": "Paid",
    "shipment_failed": "Shipped",
}
MONEY = {
    "Refunded": "Your money is on its way back to your card.",
    "Voided": "Your card was not charged.",
    "Failed": "Your card was not charged.",
    "Cancelling": "We are giving your money back.",
}
_STEPS = (
    # status, icon, and what it is called before, meanwhile, afterwards, and when it went wrong
    ("Pending", "receipt", "Order", "Placing the order", "Order placed", ""),
    ("Reserved", "package", "Stock", "Holding the stock", "Stock held for you", "Stock not held"),
    ("Paid", "credit-card", "Payment", "Charging the card", "Card charged", "Card not charged"),
    ("Shipped", "truck", "Carrier", "Handing it over", "With the carrier", "Not shipped"),
    ("Delivered", "house", "Delivery", "On its way to you", "Delivered", ""),
)


@dataclass(frozen=True)
class Step:
    """One line of an order's progress."""

    name: str
    icon: str
    state: Literal["done", "now", "failed", "undone", "waiting"]
    at: datetime | None = None
    text: str = ""


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """One's orders, newest first."""
    who = visitor(request)
    if not who.customer_id:
        if who.user is None:
            return redirect_to_login(request.get_full_path(), reverse("shop-sign-in"))
        return show(request, "orders", {"page": None})
    found = queries.orders_of(who.tenant, who.customer_id).order_by("-created_at", "-pk")
    facts = {"page": Paginator(found, ON_A_PAGE).get_page(request.GET.get("page"))}
    return show(request, "orders", facts)


@require_safe
def order(request: HttpRequest, order_id: str) -> HttpResponse:
    """One order: how far it has come, live, and what was ordered."""
    who = visitor(request)
    found = _own_order(request, who, order_id)
    facts = {
        "order": found,
        "order_id": order_id,
        "key": request.GET.get("key", ""),
        "steps": steps_of(found),
        "ended": found is not None and has_ended(found),
        "held_until": found.created_at + RESERVATION if found and found.created_at else None,
        "can_cancel": found is not None and found.status in CANCELLABLE,
        "reason": REASONS.get(found.cancel_reason, "") if found else "",
        "money": MONEY.get(found.payment_status, "") if found else "",
        "live": live.address("orders", who.tenant, order_id),
        "now": queries.watched_state(found) if found else "",
    }
    return show(request, "order", facts)


@require_POST
def cancel(request: HttpRequest, order_id: str) -> HttpResponse:
    """Cancel an order that is not with shipping yet."""
    who = visitor(request)
    _own_order(request, who, order_id)
    try:
        bus.execute(CancelOrder(order_id=order_id), tenant=who.tenant, actor=who.actor)
    except Refused as refusal:
        messages.error(request, f"It cannot be cancelled any more: {refusal.detail}.")
    else:
        messages.success(request, "We are cancelling your order.")
    return redirect(_this_address(request, order_id))


@require_POST
def again(request: HttpRequest, order_id: str) -> HttpResponse:
    """Put what was ordered into the cart again."""
    found = _own_order(request, visitor(request), order_id)
    who = with_cart(request)
    lines = found.lines if found else []
    command = AddToCart(
        cart_id=who.cart_id,
        lines=tuple(CartLine(line["product_id"], line["quantity"]) for line in lines),
    )
    try:
        bus.execute(command, tenant=who.tenant, actor=who.actor)
    except Refused as refusal:
        messages.error(request, f"That did not go into your cart: {refusal.detail}.")
    return redirect("shop-cart")


def address_of(tenant: str, order_id: str) -> str:
    """The address that shows an order to whoever has it."""
    return f"{reverse('shop-order', args=[order_id])}?{urlencode({'key': _key(tenant, order_id)})}"


def steps_of(order: OrderSummary | None) -> list[Step]:
    """An order's way, as far as it has come. None is one that is stored and not heard of yet."""
    if order is None:
        (_, icon, _, _, placed, _), *others = _STEPS
        coming = [Step(name, icon, "waiting") for _, icon, name, *_ in others]
        return [Step(placed, icon, "done"), *coming]
    reached = {status: datetime.fromisoformat(at) for status, at in order.reached.items()}
    stopped = STOPPED_AT.get(order.cancel_reason) if order.status == "Cancelled" else None
    steps = []
    for status, icon, name, doing, done, failed in _STEPS:
        if status in reached:
            steps.append(Step(done, icon, "done", reached[status], _detail(order, status)))
        elif status == stopped:
            text = REASONS[order.cancel_reason]
            steps.append(Step(failed, icon, "failed", reached.get("Cancelled"), text))
        elif order.status in {"Cancelled", "Cancelling"}:
            steps.append(Step(name, icon, "undone"))
        elif steps and steps[-1].state == "done":
            steps.append(Step(doing, icon, "now", text=_detail(order, status)))
        else:
            steps.append(Step(name, icon, "waiting"))
    return steps


def has_ended(order: OrderSummary) -> bool:
    """Whether nothing more will happen to it."""
    if order.status == "Cancelled":
        return order.payment_status not in {"Pending", "Captured", "Cancelling"}
    return order.status == "Delivered"


def _detail(order: OrderSummary, status: str) -> str:
    if status == "Shipped" and order.tracking_number:
        return f"{order.carrier}, {order.tracking_number}"
    if status == "Delivered" and order.status == "Shipped" and order.estimated_delivery:
        return f"Expected on {order.estimated_delivery:%d %B}"
    return ""


def _own_order(request: HttpRequest, who: Visitor, order_id: str) -> OrderSummary | None:
    """The order, if it is theirs to see; None when only its key is known yet. Raises Http404."""
    has_key = constant_time_compare(
        request.GET.get("key") or request.POST.get("key", ""), _key(who.tenant, order_id)
    )
    found = find_fresh(lambda: queries.order_summary(who.tenant, order_id), order_id)
    if has_key or (found is not None and who.may_see(found.customer_id)):
        return found
    raise Http404(f"there is no order {order_id!r}")


def _this_address(request: HttpRequest, order_id: str) -> str:
    key = request.POST.get("key")
    return reverse("shop-order", args=[order_id]) + (f"?{urlencode({'key': key})}" if key else "")


def _key(tenant: str, order_id: str) -> str:
    return Signer(salt="shop.order").signature(f"{tenant}/{order_id}")
