"""Reading sales figures, for the API, dashboards and console.

Days are the tenant's business days. Without a `currency` there are rows for each currency that
something was sold in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import connections
from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import ExtractHour, TruncMonth

from ecommerce.identity import tenants

from .models import (
    Cohorts,
    DailySales,
    HourlySales,
    PlacedOrder,
    ProductName,
    ProductSales,
    average,
)


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


@dataclass(frozen=True)
class Month:
    """A month's sales, net but for `cancelled`; in minor units."""

    first_day: date
    orders: int
    revenue: int
    cancelled: int

    @property
    def average(self) -> int:
        """Rounded to a minor unit; 0 in a month without any."""
        return average(self.revenue, self.orders)


@dataclass(frozen=True)
class Standing:
    """How many orders came to this of STEPS and no further, and why: "" unless cancelled."""

    reached: int
    cancel_reason: str
    orders: int


def now(tenant: str) -> datetime:
    """The time in the tenant's zone, by the database's clock."""
    with connections[DailySales.objects.db].cursor() as cursor:
        cursor.execute("SELECT messaging_now()")
        (instant,) = cursor.fetchone()
    return tenants.local_time(instant, tenant)


def today(tenant: str) -> date:
    """The tenant's business day, by the database's clock."""
    return now(tenant).date()


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
    tenant: str, first: date, last: date, *, limit: int | None = 10, currency: str | None = None
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


def sales_by_hour_of_day(
    tenant: str, first: date, last: date, *, currency: str
) -> list[tuple[int, int, int]]:
    """Hour of the tenant's day, net orders and net revenue in it; hours without any are left out."""
    facts = tenants.find(tenant)
    hours = HourlySales.objects.filter(tenant=tenant, day__range=(first, last), currency=currency)
    sums = hours.annotate(at=ExtractHour("hour", tzinfo=facts.zone if facts else None))
    return list(
        sums.values("at")
        .annotate(
            net_orders=Sum(F("orders") - F("cancelled_orders")),
            net_revenue=Sum(F("revenue") - F("cancelled_revenue")),
        )
        .order_by("at")
        .values_list("at", "net_orders", "net_revenue")
    )


def monthly_sales(tenant: str, first: date, last: date, *, currency: str) -> list[Month]:
    """The months in which something was sold or cancelled from first to last day, oldest first."""
    days = DailySales.objects.filter(tenant=tenant, day__range=(first, last), currency=currency)
    sums = (
        days.annotate(month=TruncMonth("day"))
        .values("month")
        .annotate(
            net_orders=Sum(F("orders") - F("cancelled_orders")),
            net_revenue=Sum(F("revenue") - F("cancelled_revenue")),
            cancelled=Sum("cancelled_orders"),
        )
        .order_by("month")
    )
    return [
        Month(row["month"], row["net_orders"], row["net_revenue"], row["cancelled"]) for row in sums
    ]


def standings(tenant: str, first: date, last: date, *, currency: str) -> list[Standing]:
    """Where the orders placed from first to last day stand."""
    placed = PlacedOrder.objects.filter(tenant=tenant, currency=currency, day__range=(first, last))
    counts = placed.values_list("reached", "cancel_reason").annotate(orders=Count("*")).order_by()
    return [Standing(*row) for row in counts]


def unique_customers(tenant: str, first: date, last: date, *, currency: str) -> int:
    """How many customers placed an order from first to last day, cancelled or not."""
    placed = PlacedOrder.objects.filter(tenant=tenant, currency=currency, day__range=(first, last))
    return placed.values("customer_id").distinct().count()


def cohorts(tenant: str) -> dict[str, dict[str, dict[str, int]]]:
    """For each currency: customers by the month of their first order, then by month of any."""
    found = Cohorts.objects.filter(tenant=tenant).order_by("currency")
    return dict(found.values_list("currency", "customers"))


def _names(tenant: str, product_ids: set[str]) -> dict[str, str]:
    found = ProductName.objects.filter(tenant=tenant, product_id__in=product_ids)
    return dict(found.values_list("product_id", "name"))


def _in_currency(rows: QuerySet[Any], currency: str | None) -> QuerySet[Any]:
    return rows if currency is None else rows.filter(currency=currency)


WATCHED_SALES = """
    SELECT w.tenant, w.currency,
           json_build_object('day', d.day, 'placed', d.orders, 'cancelled', d.cancelled_orders)::text,
           false
    FROM unnest(%s::text[], %s::text[]) w(tenant, currency)
    CROSS JOIN LATERAL (
        SELECT * FROM analytics_dailysales d
        WHERE d.tenant = w.tenant AND d.currency = w.currency ORDER BY day DESC LIMIT 1
    ) d
"""
"""How much was sold on the newest day: that it changes says that figures do."""

# Each finds rows that should not exist. They are written in one transaction for each order, so
# these hold at any time.
INVARIANTS: list[tuple[str, str]] = [
    (
        "a day's orders and unique customers are those of the orders placed on it",
        """
        SELECT tenant, day, currency, d.orders, d.unique_customers, o.orders, o.customers
        FROM analytics_dailysales d FULL JOIN (
            SELECT tenant, day, currency, count(*) AS orders,
                   count(DISTINCT customer_id) AS customers
            FROM analytics_placedorder WHERE day IS NOT NULL GROUP BY tenant, day, currency
        ) o USING (tenant, day, currency)
        WHERE d.orders IS DISTINCT FROM coalesce(o.orders, 0)
           OR d.unique_customers IS DISTINCT FROM coalesce(o.customers, 0)
        """,
    ),
    (
        "a day's cancellations have reasons",
        """
        SELECT tenant, day, currency, cancelled_orders, cancelled_for FROM analytics_dailysales d
        WHERE cancelled_orders IS DISTINCT FROM (
            SELECT coalesce(sum(orders::int), 0) FROM jsonb_each_text(cancelled_for) r(reason, orders)
        )
        """,
    ),
    (
        "the cohorts are those of the customers' first orders",
        """
        SELECT tenant, currency, first, month, known.customers, counted.customers
        FROM (
            SELECT tenant, currency, first, month, found::int AS customers
            FROM analytics_cohorts, jsonb_each(customers) c(first, months),
                 jsonb_each_text(months) m(month, found)
        ) known FULL JOIN (
            SELECT tenant, currency, first, to_char(day, 'YYYY-MM') AS month,
                   count(DISTINCT customer_id) AS customers
            FROM (
                SELECT *, to_char(min(day) OVER (PARTITION BY tenant, currency, customer_id),
                                  'YYYY-MM') AS first
                FROM analytics_placedorder WHERE day IS NOT NULL
            ) o GROUP BY tenant, currency, first, to_char(day, 'YYYY-MM')
        ) counted USING (tenant, currency, first, month)
        WHERE known.customers IS DISTINCT FROM counted.customers
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
