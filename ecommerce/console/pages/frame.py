"""What the console's pages have in common: who may see them, and the sidebar around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ecommerce.identity import tenants
from ecommerce.messaging.links import page_at
from ecommerce.web.access import PageRequest, page_for

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
        return page_at(self.name)


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
    request: PageRequest,
    template: str,
    facts: dict[str, Any],
    *,
    place: str,
    status: int = 200,
) -> HttpResponse:
    """A page of the console, in the time of its tenant. `place` is the sidebar's current entry."""
    facts |= {
        "places": [each for each in PLACES if each.url],
        "place": place,
        "caller": request.auth,
    }
    with timezone.override(tenants.zone_of(request.auth.tenant)):
        return render(request, f"console/{template}.html", facts, status=status)
