"""Who visits the shop: somebody signed in, or a guest whom their session remembers.

A guest has a cart from the first thing they put into it, and a customer id from their first order.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from customers import queries
from customers.models import Cart
from ecommerce.identity import tenants
from ecommerce.identity.models import User
from ecommerce.messaging.models import uuid7

CART, GUEST = "shop_cart", "shop_guest"
"""Keys of the session."""


@dataclass(frozen=True)
class Visitor:
    """Who visits. `customer_id` and `cart_id` are empty for as long as they have none."""

    tenant: str
    user: User | None
    customer_id: str
    cart_id: str

    @property
    def actor(self) -> str:
        """What events know them by."""
        return f"user:{self.user.pk}" if self.user else f"guest:{self.customer_id or self.cart_id}"

    def may_see(self, customer_id: str) -> bool:
        """Whether this customer's orders are theirs to see: their own, or all for staff."""
        if self.user is not None and self.user.own_customer() is None:
            return "orders:read" in self.user.scopes()
        return bool(customer_id) and self.customer_id == customer_id

    def cart(self) -> Cart | None:
        """Their cart, if they ever put something into it."""
        return queries.cart(self.tenant, self.cart_id) if self.cart_id else None


def visitor(request: HttpRequest) -> Visitor:
    """The visitor of this request."""
    user = request.user if isinstance(request.user, User) else None
    guest = request.session.get(GUEST, "")
    customer = user.customer_id if user else guest
    cart = f"customer-{customer}" if user and customer else request.session.get(CART, "")
    return Visitor(
        str(user.tenant_id) if user else tenants.default(), user, customer or guest, cart
    )


def with_cart(request: HttpRequest) -> Visitor:
    """The visitor, with a cart that is theirs from now on."""
    if not visitor(request).cart_id:
        request.session[CART] = secrets.token_hex(16)
    return visitor(request)


def with_customer_id(request: HttpRequest) -> Visitor:
    """The visitor, as a customer."""
    if not visitor(request).customer_id:
        request.session[GUEST] = f"guest-{uuid7()}"
    return visitor(request)


def show(
    request: HttpRequest, template: str, facts: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """A page of the shop, in the time of its tenant."""
    who = visitor(request)
    if "cart" not in facts:
        facts["cart"] = who.cart()
    cart: Cart | None = facts["cart"]
    facts |= {
        "visitor": who,
        "cart_count": sum(cart.quantities.values()) if cart else 0,
        "by_htmx": "HX-Request" in request.headers,
    }
    with timezone.override(tenants.zone_of(who.tenant)):
        return render(request, f"shop/{template}.html", facts, status=status)
