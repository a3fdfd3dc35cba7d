"""What the console's pages have in common: who may see them, and the sidebar around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from ecommerce.identity import tenants
from ecommerce.web.access import Caller, page_for


class OperatorRequest(HttpRequest):
    """A request of a caller who may see the console."""

    auth: Caller


operators = page_for("operations")
"""Decorator of each page of the console."""


@dataclass(frozen=True)
class Place:
    """An entry of the sidebar."""

    name: str
    title: str
    icon: str

    @property
    def url(self) -> str:
        return reverse(self.name)


PLACES = (
    Place("console", "Overview", "activity"),
    Place("console-orders", "Orders", "package"),
    Place("console-messages", "Search", "search"),
    Place("console-workers", "Workers", "cpu"),
    Place("console-timers", "Timers", "clock"),
    Place("console-letters", "Dead letters", "mail-warning"),
    Place("console-read-models", "Read models", "database"),
    Place("console-mailbox", "Mailbox", "mail"),
    Place("console-auditor", "Auditor", "shield-check"),
    Place("console-chaos", "Chaos", "flame"),
)
"""Those whose address does not exist are left out, such as chaos in production."""


def show(
    request: OperatorRequest,
    template: str,
    facts: dict[str, Any],
    *,
    place: str,
    status: int = 200,
) -> HttpResponse:
    """A page of the console, in the time of its tenant. `place` is the sidebar's current entry."""
    facts |= {
        "places": [each for each in PLACES if _exists(each.name)],
        "place": place,
        "caller": request.auth,
    }
    tenant = tenants.find(request.auth.tenant)
    with timezone.override(tenant.zone if tenant else "UTC"):
        return render(request, f"console/{template}.html", facts, status=status)


def _exists(name: str) -> bool:
    try:
        reverse(name)
    except NoReverseMatch:
        return False
    return True
