"""The console's first page: the seven services, and what flows between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from ecommerce.console.picture import PLACES, lines
from ecommerce.console.traffic import State, states
from ecommerce.messaging.services import services
from ecommerce.web import live
from ecommerce.web.access import PageRequest

from .frame import operators, show

NOW = "now"
"""The one id of the topic."""
ICONS = {
    "orders": "receipt",
    "inventory": "warehouse",
    "payments": "credit-card",
    "shipping": "truck",
    "notifications": "bell",
    "customers": "users",
    "analytics": "chart-line",
}
FIGURES = (
    ("in", "In", "Deliveries a second, of the last ten"),
    ("out", "Out", "Messages sent a second, of the last ten"),
    ("calls", "Calls", "Calls to the outside under way"),
    ("waiting", "Waiting", "Messages that are not delivered yet"),
    ("oldest", "Oldest", "How long the first of them waits"),
    ("stuck", "Stuck", "Parked deliveries and dead letters of this shop"),
)
TOTALS = (
    ("orders", "Orders", "placed in the last minute"),
    ("open", "Under way", "orders not ended"),
    ("p50", "Typical", "delivery, last minute"),
    ("p99", "Slowest 1 %", "deliveries, last minute"),
    ("canary", "Canary", "oldest answer"),
    ("workers", "Workers", "alive"),
)


@require_safe
@operators
def overview(request: PageRequest) -> HttpResponse:
    """Rates, backlog and failures of every service, live."""
    tenant = request.auth.tenant
    now = states([tenant])[tenant]
    facts = {
        "live": live.address("overview", tenant, NOW),
        "totals": [(name, title, note, now.texts[f"total.{name}"]) for name, title, note in TOTALS],
        "cards": [_card(config.label, now) for config in services()],
        "lines": [(line, now.paces[line.name]) for line in lines()],
    }
    return show(request, "overview", facts, place="console")


def _card(service: str, now: State) -> dict[str, object]:
    column, row = PLACES[service]
    return {
        "service": service,
        "icon": ICONS[service],
        "column": column,
        "row": row,
        "mood": now.moods[service],
        "says": now.texts[f"{service}.mood"],
        "figures": [
            (name, title, note, now.texts[f"{service}.{name}"]) for name, title, note in FIGURES
        ],
    }


def _sample(watched: Sequence[live.Key]) -> Iterator[tuple[str, str, str]]:
    tenants = sorted({tenant for tenant, key in watched if key == NOW})
    for tenant, state in (states(tenants) if tenants else {}).items():
        yield tenant, NOW, msgspec.json.encode(state).decode()


live.sampled("overview", sample=_sample)
