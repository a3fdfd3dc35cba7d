"""The admin's first page: how the day goes, and what needs somebody.

It is about the tenant of who looks. Each part is for those whose scopes reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from analytics import queries as analytics
from customers import queries as customers
from ecommerce.identity import tenants
from ecommerce.identity.models import User
from ecommerce.messaging.backlogs import Backlog, backlogs
from ecommerce.messaging.links import page_at
from ecommerce.messaging.services import services
from inventory import queries as inventory
from orders import queries as orders

LATEST, MOST = 8, 6
"""Orders, and things that need somebody, that are shown."""
DOORS = (
    ("landing", "home", "Front door"),
    ("console", "monitoring", "Console"),
    ("console-letters", "mark_email_unread", "Dead letters"),
    ("console-auditor", "verified_user", "Auditor"),
    ("analytics", "show_chart", "Analytics"),
    ("shop", "storefront", "Shop"),
)
"""Where else to go: those that exist."""
OPERATORS = frozenset({"console", "console-letters", "console-auditor"})


@dataclass(frozen=True)
class Work:
    """What one service has to do for the tenant; `canary` and `workers` are everybody's."""

    title: str
    waiting: int
    oldest: float
    parked: int
    dead: int
    workers: int
    canary: float | None


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the page shows."""
    user = request.user
    assert isinstance(user, User)
    tenant, scopes = str(user.tenant_id), user.scopes()
    context |= {
        "shop": tenants.find(tenant),
        "zone": tenants.zone_of(tenant),
        "doors": doors(scopes),
    }
    if "analytics:read" in scopes:
        context["sales"] = _sales(tenant)
    if "orders:read" in scopes:
        context["latest"] = [_order(row, scopes) for row in _latest(tenant)]
        stalled = orders.stalled(tenant, limit=MOST)
        context["stalled"] = [_order(row, scopes) for row in stalled]
    if "inventory:read" in scopes:
        context["low"] = list(inventory.low_stock(tenant)[:MOST])
    if "operations" in scopes:
        context["work"] = [_work(each, tenant) for each in backlogs()]
        context["letters"] = page_at("console-letters")
    return context


def doors(scopes: frozenset[str]) -> list[dict[str, str]]:
    """The doors that exist and that somebody with these scopes may go through."""
    may = [door for door in DOORS if door[0] not in OPERATORS or "operations" in scopes]
    found = ((page_at(name), icon, title) for name, icon, title in may)
    return [{"url": url, "icon": icon, "title": title} for url, icon, title in found if url]


def _sales(tenant: str) -> list[dict[str, Any]]:
    """Today and yesterday, for each currency that something was sold in; at least the tenant's."""
    today = analytics.today(tenant)
    yesterday = today - timedelta(days=1)
    days = analytics.daily_sales(tenant, yesterday, today)
    currencies = sorted({day.currency for day in days} | {tenants.currency_of(tenant)})
    by_day = {(day.day, day.currency): day for day in days}
    return [
        {
            "currency": currency,
            "orders": _net(by_day.get((today, currency)), "total_orders"),
            "before": _net(by_day.get((yesterday, currency)), "total_orders"),
            "revenue": _net(by_day.get((today, currency)), "total_revenue"),
            "revenue_before": _net(by_day.get((yesterday, currency)), "total_revenue"),
        }
        for currency in currencies
    ]


def _net(day: Any, figure: str) -> int:
    return getattr(day, figure) if day else 0


def _latest(tenant: str) -> Any:
    return customers.orders(tenant).order_by("-created_at", "-id")[:LATEST]


def _order(row: Any, scopes: frozenset[str]) -> dict[str, Any]:
    """An order, or its saga, with where to look at it."""
    console = page_at("console-order", row.order_id) if "operations" in scopes else ""
    search = f"{reverse('admin:customers_ordersummary_changelist')}?q={row.order_id}"
    return {"row": row, "url": console or search}


def _work(backlog: Backlog, tenant: str) -> Work:
    def length(queue: str) -> int:
        return round(backlog.lengths.get((queue, tenant), 0))

    titles = {config.label: config.verbose_name for config in services()}
    return Work(
        title=str(titles[backlog.service]),
        waiting=length("waiting"),
        oldest=backlog.oldest.get(tenant, 0.0),
        parked=length("parked"),
        dead=length("dead"),
        workers=round(backlog.facts.get("workers", 0)),
        canary=backlog.facts.get("canary"),
    )
