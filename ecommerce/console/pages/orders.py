"""All orders of the shop, newest first."""

from __future__ import annotations

from datetime import timedelta

from django.http import Http404, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from customers import queries
from customers.models import OrderSummary
from ecommerce.messaging.errors import Invalid
from ecommerce.web import Page, Paging, page
from ecommerce.web.access import PageRequest

from .frame import operators, show

ON_A_PAGE = 50
TONES = {
    "Pending": "info",
    "Reserved": "info",
    "Paid": "info",
    "Shipped": "good",
    "Delivered": "good",
    "Cancelling": "warn",
    "Cancelled": "bad",
}
"""Every status, in the order in which orders come to it, with the tone of its badge."""
PERIODS = {
    "": ("Any time", None),
    "15m": ("15 minutes", timedelta(minutes=15)),
    "1h": ("Hour", timedelta(hours=1)),
    "24h": ("Day", timedelta(days=1)),
    "7d": ("Week", timedelta(days=7)),
}


@require_safe
@operators
def orders(request: PageRequest) -> HttpResponse:
    """The orders that fit, page by page; words are an order's or a customer's id."""
    status, period = request.GET.get("status", ""), request.GET.get("placed", "")
    words = request.GET.get("q", "").replace("\0", "").strip()[:100]
    found = _found(
        request.auth.tenant,
        words,
        status if status in TONES else None,
        period if period in PERIODS else "",
        request.GET.get("cursor"),
    )
    facts = {
        "page": found,
        "tones": TONES,
        "periods": [(name, label) for name, (label, _) in PERIODS.items()],
        "words": words,
        "status": status,
        "period": period,
        "filtered": bool(words or status or period),
        "now": timezone.now(),
    }
    return show(request, "orders", facts, place="console-orders")


def _found(
    tenant: str, words: str, status: str | None, period: str, cursor: str | None
) -> Page[OrderSummary]:
    """Raises Http404 for a cursor that this list has not given."""
    found = queries.orders(tenant, status=status)
    _, ago = PERIODS[period]
    if ago is not None:
        found = found.filter(created_at__gte=timezone.now() - ago)
    if words:
        # One after the other: each of them has an index.
        one = found.filter(order_id=words)
        found = one if one.exists() else found.filter(customer_id=words)
    try:
        return page(found, Paging(cursor=cursor or None, limit=ON_A_PAGE))
    except (Invalid, ValueError) as error:
        raise Http404("there is no such page") from error
