"""The checkout: from a cart to an order, once.

The form carries a token, which is the order's idempotency key: a second click, a reload or a lost
answer gets the order that the first click placed.
"""

from __future__ import annotations

import hashlib
import time
import uuid

import msgspec
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from customers import queries
from customers.contracts import EmptyCart
from customers.forms import CARDS, CheckoutForm
from ecommerce.messaging import bus
from ecommerce.messaging.bus import IdempotencyRequest, Response
from ecommerce.messaging.errors import Conflict, Invalid, NotFound
from ecommerce.messaging.models import uuid7
from orders.contracts import CreateOrder, RequestedLine

from .orders import address_of
from .visitor import Visitor, show, visitor, with_customer_id

PATIENCE = 3.0
"""Seconds to wait for the first of two clicks."""


@require_http_methods(["GET", "HEAD", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """Ask where it goes and who pays; then place the order."""
    if request.method != "POST":
        who = visitor(request)
        items = queries.cart_items(who.cart())
        if not items or any(item.is_short for item in items):
            return redirect("shop-cart")
        return _ask(request, _fresh_form(who, sum(item.total for item in items)))
    form = CheckoutForm(request.POST)
    if not form.is_valid():
        return _ask(request, form, status=422)
    who = with_customer_id(request)
    try:
        _save_contact(who, form)
        order_id = _place(who, form)
    except Invalid as refusal:
        messages.error(request, f"Nothing was ordered: {refusal.detail}.")
        return redirect("shop-cart")
    except Conflict as refusal:
        return _ask_again(request, who, form, refusal)
    _empty(who)
    return redirect(address_of(who.tenant, order_id))


def _fresh_form(who: Visitor, total: int) -> CheckoutForm:
    profile = queries.profile(who.tenant, who.customer_id) if who.customer_id else None
    known = CheckoutForm.known(profile)
    if who.user and who.user.email:
        known.setdefault("email", who.user.email)
    return CheckoutForm(initial=known | {"token": uuid.uuid4(), "total": total})


def _ask(request: HttpRequest, form: CheckoutForm, *, status: int = 200) -> HttpResponse:
    cart = visitor(request).cart()
    items = queries.cart_items(cart)
    if not items:
        return redirect("shop-cart")
    facts = {
        "form": form,
        "cart": cart,
        "items": items,
        "total": sum(item.total for item in items),
        "currency": items[0].product.currency,
        "cards": CARDS,
        "chosen": form["card"].value(),
    }
    return show(request, "checkout", facts, status=status)


def _ask_again(
    request: HttpRequest, who: Visitor, form: CheckoutForm, refusal: Conflict
) -> HttpResponse:
    """The form once more with the price of now: what was shown is not what it costs."""
    if refusal.code != "price-changed":
        messages.error(request, f"Nothing was ordered: {refusal.detail}.")
        return redirect("shop-cart")
    total = sum(item.total for item in queries.cart_items(who.cart()))
    given = {**form.cleaned_data, "token": uuid.uuid4(), "total": total}
    again = CheckoutForm(given)
    again.add_error(
        None, "The price has changed since you saw it. Look at the new total, then order."
    )
    return _ask(request, again, status=409)


def _save_contact(who: Visitor, form: CheckoutForm) -> None:
    """Remember who they are before they order, so that they get word of it."""
    if form.given() == CheckoutForm.known(queries.profile(who.tenant, who.customer_id)):
        return
    bus.execute(form.command(who.customer_id), tenant=who.tenant, actor=who.actor)


def _place(who: Visitor, form: CheckoutForm) -> str:
    """Place the order, or find the one that this form has placed; its id."""
    given = form.cleaned_data
    cart = who.cart()
    command = CreateOrder(
        order_id=str(uuid7()),
        customer_id=who.customer_id,
        lines=tuple(
            RequestedLine(product_id=product_id, quantity=quantity)
            for product_id, quantity in (cart.quantities if cart else {}).items()
        ),
        expected_total=given["total"],
        payment_method=given["card"],
        shipping_address=form.address(),
    )
    once = IdempotencyRequest(
        caller=who.actor,
        route="shop checkout",
        key=str(given["token"]),
        fingerprint=hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest(),
    )

    until = time.monotonic() + PATIENCE
    while True:
        try:
            outcome = bus.execute(
                command,
                tenant=who.tenant,
                actor=who.actor,
                idempotency=once,
                respond=lambda _: Response(201, {}, command.order_id),
            )
        except Conflict as refusal:
            if refusal.code != "idempotency-key-in-use" or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            assert outcome.response is not None
            return outcome.response.body


def _empty(who: Visitor) -> None:
    """What was ordered is not in the cart any more."""
    try:
        bus.execute(EmptyCart(cart_id=who.cart_id), tenant=who.tenant, actor=who.actor)
    except NotFound:
        return
