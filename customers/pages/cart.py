"""The cart: what somebody is about to buy."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from customers import queries
from customers.contracts import AddToCart, CartLine, SetQuantity
from customers.forms import QuantityForm
from ecommerce.messaging import bus
from ecommerce.messaging.errors import NotFound, Refused

from .visitor import show, visitor, with_cart


@require_safe
def cart(request: HttpRequest) -> HttpResponse:
    """What is in the cart, and what it costs."""
    found = visitor(request).cart()
    items = queries.cart_items(found)
    facts = {
        "cart": found,
        "items": items,
        "total": sum(item.total for item in items),
        "currency": items[0].product.currency if items else "",
        "is_short": any(item.is_short for item in items),
    }
    return show(request, "cart", facts)


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Put a product into the cart."""
    form = QuantityForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose how many, from 1 to 99.")
        return _back(request)
    product_id, quantity = form.cleaned_data["product"], form.cleaned_data["quantity"]
    who = with_cart(request)
    found = queries.product(who.tenant, product_id)
    command = AddToCart(cart_id=who.cart_id, lines=(CartLine(product_id, quantity),))
    try:
        bus.execute(command, tenant=who.tenant, actor=who.actor)
    except Refused as refusal:
        messages.error(request, f"That did not go into your cart: {refusal.detail}.")
        return _back(request)
    messages.success(request, f"{found.name if found else product_id} is in your cart.")
    return _back(request)


@require_POST
def set_quantity(request: HttpRequest) -> HttpResponse:
    """Have more or fewer of a product, or none."""
    form = QuantityForm(request.POST)
    who = visitor(request)
    if not form.is_valid():
        messages.error(request, "Choose how many, from 0 to 99.")
        return redirect("shop-cart")
    product_id, quantity = form.cleaned_data["product"], form.cleaned_data["quantity"]
    command = SetQuantity(cart_id=who.cart_id, product_id=product_id, quantity=quantity)
    try:
        bus.execute(command, tenant=who.tenant, actor=who.actor)
    except NotFound:
        messages.info(request, "Your cart is empty; it may have been ordered in another window.")
    return redirect("shop-cart")


def _back(request: HttpRequest) -> HttpResponse:
    """To where they were with JavaScript, which says what happened there; else to the cart."""
    wanted = request.POST.get("next", "")
    if "HX-Request" in request.headers and url_has_allowed_host_and_scheme(wanted, None):
        return redirect(wanted)
    return redirect("shop-cart")
