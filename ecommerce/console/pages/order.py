"""One order: how its messages went through the services, what it is, and what it was."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from customers import queries as customers
from customers.pages.orders import address_of
from ecommerce.messaging.trace import trace, unfinished
from ecommerce.web import live
from ecommerce.web.access import PageRequest
from ecommerce.web.dead_letter_schemas import may_see
from notifications import queries as notifications
from orders import queries as orders

from .frame import operators, show
from .hop_map import hop_map
from .hops import breakdown, duration, lines, shares, spans
from .ledgers import entries, movements
from .orders import TONES
from .time_machine import Moment, moments, sides

SCALES = {"": "By step", "time": "True time"}


@require_safe
@operators
def order(request: PageRequest, order_id: str) -> HttpResponse:
    """All that is known of an order; `at` is the number of the event to look at it after."""
    tenant, personal = request.auth.tenant, may_see(request.auth)
    trees = trace(tenant, f"order/{order_id}")
    found = moments(tenant, order_id, personal=personal)
    if not found:
        raise Http404(f"there is no order {order_id!r}")
    scale = request.GET.get("scale", "")
    summary = customers.order_summary(tenant, order_id)
    facts = {
        "order_id": order_id,
        "stream": f"order/{order_id}",
        "order": summary,
        "tones": TONES,
        "saga": orders.fulfilment(tenant, order_id),
        "notifications": notifications.notifications_of(tenant, order_id),
        "personal": personal,
        "links": _links(tenant, order_id),
        "live": live.address("orders", tenant, order_id),
        "state": customers.watched_state(summary) if summary else "",
        "scale": scale if scale in SCALES else "",
        "scales": SCALES,
        "movements": movements(found),
        "entries": entries(found),
    }
    facts |= _hops(trees, true=scale == "time") | _machine(tenant, found, request)
    return show(request, "order", facts, place="console-orders")


def _hops(trees: Any, *, true: bool) -> dict[str, Any]:
    deliveries = spans(trees, timezone.now())
    total = sum(breakdown(deliveries).values())
    left = unfinished(trees)
    return {
        "map": hop_map(deliveries, true=true),
        "lines": lines(trees, deliveries),
        "total": duration(total),
        "shares": shares(deliveries),
        "open": [hop for hop in left if hop.outcome != "dead"],
        "dead": [hop for hop in left if hop.outcome == "dead"],
        "deliveries": len(deliveries),
    }


def _machine(tenant: str, found: list[Moment], request: PageRequest) -> dict[str, Any]:
    """The moment that is looked at. Whoever looked at the last of `of` events looks at now."""
    asked, known = request.GET.get("at", ""), request.GET.get("of", "")
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 6 else len(found)
    number = len(found) if asked == known else min(max(number, 1), len(found))
    return {
        "moments": found,
        "moment": found[number - 1],
        "is_now": number == len(found),
        "previous": number - 1,
        "next": number + 1 if number < len(found) else 0,
        "sides": sides(tenant, found, number),
    }


def _links(tenant: str, order_id: str) -> list[tuple[str, str, str]]:
    admin = reverse("admin:orders_order_changelist")
    return [
        ("store", "In the shop", address_of(tenant, order_id)),
        ("settings", "In the admin", f"{admin}?{urlencode({'q': order_id})}"),
        ("code", "As JSON", f"/api/orders/{order_id}"),
        ("message-square", "Its messages", _messages(order_id)),
    ]


def _messages(order_id: str) -> str:
    log = reverse("admin:orders_orderslogentry_changelist")
    return f"{log}?{urlencode({'q': f'order/{order_id}'})}"
