"""Search: by the id of an order, a customer, a message or a request; and one message on its own.

Ids are compared as a whole. What belongs to another shop is not found.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from customers import queries as customers
from ecommerce.messaging import inspection
from ecommerce.messaging.inspection import Attempt, Message
from ecommerce.messaging.registry import handler_named
from ecommerce.messaging.searching import SLACK, as_uuid
from ecommerce.web.access import PageRequest
from ecommerce.web.dead_letter_schemas import may_see
from orders import queries as orders

from .frame import operators, show

SHOWN = 25


@require_safe
@operators
def search(request: PageRequest) -> HttpResponse:
    """What has this id; an order and a single message are shown at once."""
    tenant = request.auth.tenant
    words = request.GET.get("q", "").replace("\0", "").strip()[:100]
    if not words:
        facts: dict[str, Any] = {"newest": inspection.newest(tenant, SHOWN)}
        return show(request, "messages", facts, place="console-messages")
    if orders.find_order(tenant, words) is not None:
        return redirect("console-order", words)
    named = as_uuid(words)
    found = inspection.message(tenant, named) if named else None
    together = inspection.correlated(tenant, named) if named else []
    if found and not together:
        return redirect("console-message", found.service, found.message_id)
    deliveries = [] if found or together or not named else _own_deliveries(tenant, named)
    if deliveries:
        return redirect("console-message", deliveries[0].service, words)
    facts = {"words": words, "message": found, "together": together}
    return show(request, "messages", facts | _customer(tenant, words), place="console-messages")


@require_safe
@operators
def message(request: PageRequest, service: str, message_id: str) -> HttpResponse:
    """One message: what it says, its cause and effects, and each of its deliveries."""
    tenant, named = request.auth.tenant, as_uuid(message_id)
    found = inspection.message(tenant, named) if named else None
    if found is not None and found.service != service:
        return redirect("console-message", found.service, found.message_id)
    deliveries = inspection.attempts([named]) if found and named else []
    if found is None and named is not None:
        deliveries = _own_deliveries(tenant, named)
    if named is None or not (found or any(each.service == service for each in deliveries)):
        raise Http404(f"there is no message {message_id!r}")
    cause_id = found.cause_id if found else deliveries[0].cause_id
    facts = {
        "message_id": named,
        "service": service,
        "message": found,
        "name": found.name if found else _name(deliveries[0]),
        "payload": _formatted(found.payload) if found else "",
        "personal": _formatted(found.personal) if found and may_see(request.auth) else "",
        "hidden": bool(found and found.personal) and not may_see(request.auth),
        "order_id": _order(found),
        "deliveries": deliveries,
        "longest": max((each.waited + each.ran for each in deliveries), default=0),
        "stuck": inspection.stuck(tenant, named),
        "cause_id": cause_id,
        "cause": inspection.message(tenant, cause_id) if cause_id else None,
        "effects": inspection.caused_by(tenant, named, _time_of(named, deliveries)),
    }
    return show(request, "message", facts, place="console-messages")


def _own_deliveries(tenant: str, message_id: uuid.UUID) -> list[Attempt]:
    """The deliveries of a message that is in no log: it is this shop's when what it caused is."""
    deliveries = inspection.attempts([message_id])
    between = _time_of(message_id, deliveries)
    if deliveries and inspection.caused_by(tenant, message_id, between):
        return deliveries
    return []


def _time_of(message_id: uuid.UUID, deliveries: list[Attempt]) -> tuple[datetime, datetime]:
    """When a message's effects were recorded."""
    begin, end = inspection.made(message_id)
    times = [each.delivered_at for each in deliveries]
    return min([begin, *times]), max(
        [end, *(time + SLACK + timedelta(seconds=1) for time in times)]
    )


def _name(delivery: Attempt) -> str:
    """What a message is called of which only a delivery is known."""
    types = handler_named(delivery.handler).message_types
    return types[0].__name__ if types else delivery.handler


def _order(found: Message | None) -> str:
    category, _, key = found.stream.partition("/") if found else ("", "", "")
    return key if category == "order" else ""


def _formatted(text: str | None) -> str:
    return msgspec.json.format(text, indent=2) if text else ""


def _customer(tenant: str, words: str) -> dict[str, Any]:
    found = customers.orders_of(tenant, words).order_by("-created_at", "-pk")
    return {"customer_orders": list(found[:SHOWN]), "customer": customers.customer(tenant, words)}
