"""The mailbox: what customers were told, as they got it. To whom, and what it says, is for callers
who may read customers; others see that it was sent."""

from __future__ import annotations

from typing import Any

from csp.decorators import csp_update
from django.http import Http404, HttpResponse
from django.views.decorators.http import require_safe

from ecommerce.messaging.errors import Invalid
from ecommerce.web.access import PageRequest
from ecommerce.web.dead_letter_schemas import may_see
from ecommerce.web.paging import Paging, page
from notifications import queries

from .frame import operators, show

ON_A_PAGE = 25
KINDS = {
    "order_confirmation": "Order confirmation",
    "payment_receipt": "Payment receipt",
    "shipment": "Shipment",
}
TONES = {"Sent": "good", "Queued": "info", "Undeliverable": "warn", "Unwanted": "info"}
FRAMED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'; sandbox",
    "X-Frame-Options": "SAMEORIGIN",
}
"""Mail has styles inside. It may run no script, load nothing, and is shown in our own pages only."""


@require_safe
@operators
def mailbox(request: PageRequest) -> HttpResponse:
    """The notifications of this shop, newest first, or those about an order."""
    order_id = request.GET.get("q", "").replace("\0", "").strip()[:80]
    found = queries.notifications(request.auth.tenant, order_id=order_id)
    try:
        listed = page(found, Paging(cursor=request.GET.get("after"), limit=ON_A_PAGE), by="id")
    except Invalid as refusal:
        raise Http404("this is not a page of the mailbox") from refusal
    facts = {
        "words": order_id,
        "notifications": [(each, KINDS.get(each.notification_type, each.notification_type),
                           TONES.get(each.status, "bad")) for each in listed.items],
        "next": listed.next,
        "after": request.GET.get("after"),
        "may_see": may_see(request.auth),
    }  # fmt: skip
    return show(request, "mailbox", facts, place="console-mailbox")


@csp_update({"frame-src": ["'self'"]})
@require_safe
@operators
def mail(request: PageRequest, notification_id: str) -> HttpResponse:
    """One notification, as the customer got it."""
    found = _find(request, notification_id)
    facts = {
        "notification": found,
        "kind": KINDS.get(found.notification_type, found.notification_type),
        "tone": TONES.get(found.status, "bad"),
        "mail": queries.mail(request.auth.tenant, notification_id),
        "may_see": may_see(request.auth),
    }
    return show(request, "mail", facts, place="console-mailbox")


@require_safe
@operators
def body(request: PageRequest, notification_id: str) -> HttpResponse:
    """What an e-mail shows, to be framed: it can run no script and load nothing."""
    given = queries.mail(request.auth.tenant, notification_id)
    if given is None or not may_see(request.auth):
        raise Http404(f"there is no mail {notification_id!r}")
    return HttpResponse(given.html, headers=FRAMED)


def _find(request: PageRequest, notification_id: str) -> Any:
    found = queries.find_notification(request.auth.tenant, notification_id)
    if found is None:
        raise Http404(f"there is no notification {notification_id!r}")
    return found
