"""The page with all figures, live while its days are not over."""

from __future__ import annotations

import json

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from analytics import queries
from analytics.forms import RANGES, Period
from ecommerce.identity import tenants
from ecommerce.web import live
from ecommerce.web.access import PageRequest

from .asked import Asked, analysts, asked
from .customers import SHOWN
from .figures import Figures, bars
from .tables import Table

live.topic("sales", service="analytics", statement=queries.WATCHED_SALES)


@require_safe
@analysts
def dashboard(request: PageRequest) -> HttpResponse:
    """All figures of some days, in one currency."""
    wanted = asked(request)
    figures = Figures(wanted)
    facts = {
        "caller": request.auth,
        "asked": wanted,
        "period": wanted.period,
        "ranges": [(name, label) for name, (label, _) in RANGES.items()],
        "compared": _compared(wanted.period),
        "charted": _charted(figures.over_time, wanted.period),
        "figures": figures,
        "tiles": figures.tiles,
        "products": list(zip(figures.products.cells, bars(figures.products), strict=True)),
        "later": range(1, SHOWN),
        "live": live.address("sales", wanted.tenant, wanted.currency)
        if wanted.period.is_going_on
        else "",
        "live_now": _shown_state(wanted, figures),
    }
    status = 200 if wanted.form.is_valid() else 422
    with timezone.override(tenants.zone_of(wanted.tenant)):
        return render(request, "analytics/dashboard.html", facts, status=status)


def _compared(period: Period) -> str:
    """What the changes are changes from."""
    if period.is_today:
        return "yesterday by this hour"
    count = len(period.days)
    return "the day before" if count == 1 else f"the {count} days before"


def _charted(table: Table, period: Period) -> tuple[str, str]:
    """What the charts over time show: the period, and beside it, unless it is drawn by month, the
    one before."""
    if table.columns[-1].key != "orders_before":
        return "", ""
    count = len(period.days)
    return ("This day", "The day before") if count == 1 else ("These days", f"{count} days before")


def _shown_state(wanted: Asked, figures: Figures) -> str:
    """What the live stream says of the newest day that is on the page."""
    days = [day for day in figures.sales.days.values() if day.day <= wanted.period.last]
    if not days:
        return ""
    newest = max(days, key=lambda day: day.day)
    state = {
        "day": newest.day.isoformat(),
        "placed": newest.orders,
        "cancelled": newest.cancelled_orders,
    }
    return json.dumps(state)
