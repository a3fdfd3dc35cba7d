"""Reading sales figures, for the API, dashboards and console.

Days are the tenant's business days. Without a `currency` there are rows for each currency that
something was sold in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connections
from django.db.models import F, QuerySet, Sum

from ecommerce.identity import tenants

from .models import DailySales, HourlySales, ProductName, ProductSales, average


@dataclass(frozen=True)
class TopProduct:
    """What a product sold over some days, net of cancellations, in minor units of `currency`."""

    product_id: str
    name: str
    currency: str
    times_ordered: int
    units_sold: int
    total_revenue: int

    @property
    def avg_revenue_per_order(self) -> int:
        """Rounded to a minor unit; 0 when no order is left."""
        return average(self.total_revenue, self.times_ordered)


def today(tenant: str) -> date:
    """The tenant's business day, by the database's clock."""
    with connections[DailySales.objects.db].cursor() as cursor:
        cursor.execute("SELECT messaging_now()")
        (now,) = cursor.fetchone()
    return tenants.local_time(now, tenant).date()


def daily_sales(
    tenant: str, first: date, last: date, *, currency: str | None = None
) -> list[DailySales]:
    """The days from first to last on which something was sold or cancelled, newest first."""
    days = DailySales.objects.filter(tenant=tenant, day__range=(first, last))
    return list(_in_currency(days, currency).order_by("-day", "currency"))


def hourly_sales(tenant: str, day: date, *, currency: str | None = None) -> list[HourlySales]:
    """The hours of a day in which something was sold or cancelled, in their order."""
    hours = HourlySales.objects.filter(tenant=tenant, day=day)
    return list(_in_currency(hours, currency).order_by("hour", "currency"))


def top_products(
    tenant: str, first: date, last: date, *, limit: int = 10, currency: str | None = None
) -> list[TopProduct]:
    """The products with the highest net revenue from first to last day, highest first.

    Products of which as much was cancelled as sold are left out. Amounts of different currencies
    are not converted: name one where a shop sells in several.
    """
    days = ProductSales.objects.filter(tenant=tenant, day__range=(first, last))
    sums = (
        _in_currency(days, currency)
        .values("product_id", "currency")
        .annotate(
            net_times=Sum(F("times_ordered") - F("times_cancelled")),
            net_units=Sum(F("units_sold") - F("units_cancelled")),
            net_revenue=Sum(F("revenue") - F("cancelled_revenue")),
        )
        .filter(net_times__gt=0)
        .order_by("-net_revenue", "product_id", "currency")
    )
    top: list[dict[str, Any]] = list(sums[:limit])
    names = _names(tenant, {row["product_id"] for row in top})
    return [
        TopProduct(
            product_id=row["product_id"],
            name=names.get(row["product_id"], row["product_id"]),
            currency=row["currency"],
            times_ordered=row["net_times"],
            units_sold=row["net_units"],
            total_revenue=row["net_revenue"],
        )
        for row in top
    ]


def _names(tenant: str, product_ids: set[str]) -> dict[str, str]:
    found = ProductName.objects.filter(tenant=tenant, product_id__in=product_ids)
    return dict(found.values_list("product_id", "name"))


def _in_currency(rows: QuerySet[Any], currency: str | None) -> QuerySet[Any]:
    return rows if currency is None else rows.filter(currency=currency)


# Each finds rows that should not exist. They are written in one transaction for each order, so
# these hold at any time.
INVARIANTS: list[tuple[str, str]] = [
    (
        "a day's unique customers are those who ordered on it",
        """
        SELECT tenant, day, currency, d.unique_customers, d.orders, c.customers, c.orders
        FROM analytics_dailysales d FULL JOIN (
            SELECT tenant, day, currency, count(*) AS customers, sum(orders) AS orders
            FROM analytics_dailycustomer GROUP BY tenant, day, currency
        ) c USING (tenant, day, currency)
        WHERE d.unique_customers IS DISTINCT FROM coalesce(c.customers, 0)
           OR d.orders IS DISTINCT FROM coalesce(c.orders, 0)
        """,
    ),
    (
        "a day's hours add up to the day",
        """
        SELECT tenant, day, currency, d.orders, d.revenue, h.orders, h.revenue
        FROM analytics_dailysales d FULL JOIN (
            SELECT tenant, day, currency, sum(orders) AS orders, sum(revenue) AS revenue,
                   sum(cancelled_orders) AS cancelled_orders,
                   sum(cancelled_revenue) AS cancelled_revenue
            FROM analytics_hourlysales GROUP BY tenant, day, currency
        ) h USING (tenant, day, currency)
        WHERE (d.orders, d.revenue, d.cancelled_orders, d.cancelled_revenue)
           IS DISTINCT FROM (h.orders, h.revenue, h.cancelled_orders, h.cancelled_revenue)
        """,
    ),
    (
        "a day's products add up to the items of the day",
        """
        SELECT tenant, day, currency, d.items, p.items
        FROM analytics_dailysales d FULL JOIN (
            SELECT tenant, day, currency, sum(units_sold) AS items,
                   sum(units_cancelled) AS cancelled_items
            FROM analytics_productsales GROUP BY tenant, day, currency
        ) p USING (tenant, day, currency)
        WHERE (d.items, d.cancelled_items) IS DISTINCT FROM (p.items, p.cancelled_items)
        """,
    ),
]
"""Statements that must return no row."""
