"""All figures of the dashboard, and each table by its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cached_property

from analytics import queries
from analytics.queries import TopProduct

from . import customers, orders
from .asked import Asked, Matrix
from .sales import Sales
from .tables import Column, Table
from .tiles import Tile, tiles

TOP = 10


class Figures:
    """What one page shows. Each is read when it is asked for, and once."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.sales = Sales(asked)

    @property
    def matrix(self) -> Matrix:
        return self.asked.cohorts.get(self.asked.currency, {})

    @property
    def tiles(self) -> list[Tile]:
        """Beside those of the period before. Of a day that is not over nobody knows how many
        customers the day before had by this hour."""
        period, before = self.asked.period, self.asked.period.before
        known = not period.is_today
        return tiles(
            self.sales,
            self._customers(period.first, period.last),
            self._customers(before.first, before.last) if known else None,
        )

    def _customers(self, first: date, last: date) -> int:
        if first == last:
            day = self.sales.days.get(first)
            return day.unique_customers if day else 0
        asked = self.asked
        return queries.unique_customers(asked.tenant, first, last, currency=asked.currency)

    @cached_property
    def steps(self) -> list[orders.Step]:
        return orders.funnel(orders.standings(self.asked))

    @property
    def under_way(self) -> int:
        """How many orders may still come further."""
        return sum(step.waiting for step in self.steps)

    @cached_property
    def cohorts(self) -> list[customers.Cohort]:
        return customers.cohorts(self.matrix, self.asked.period.today)

    @cached_property
    def over_time(self) -> Table:
        return self.sales.over_time

    @cached_property
    def products(self) -> Table:
        return self.top_products(TOP)

    def top_products(self, limit: int | None) -> Table:
        """Those with the highest revenue, with how many units and orders."""
        asked, period = self.asked, self.asked.period
        found = queries.top_products(
            asked.tenant, period.first, period.last, limit=limit, currency=asked.currency
        )
        columns = (
            Column("label", "Product", "text"),
            Column("id", "Id", "text"),
            Column("revenue", "Revenue", "money"),
            Column("units", "Units"),
            Column("orders", "Orders"),
        )
        rows = [_product(each) for each in found]
        return Table("products", "Top products", asked.currency, columns, rows)

    @cached_property
    def hours_of_day(self) -> Table:
        """What each hour of the day brought, over all days of the period."""
        asked, period = self.asked, self.asked.period
        found = queries.sales_by_hour_of_day(
            asked.tenant, period.first, period.last, currency=asked.currency
        )
        sold = {hour: (orders, revenue) for hour, orders, revenue in found}
        rows = [(f"{hour:02}:00", *sold.get(hour, (0, 0))) for hour in range(24)]
        columns = (
            Column("label", "Hour", "text"),
            Column("orders", "Orders"),
            Column("revenue", "Revenue", "money"),
        )
        return Table("hours-of-day", "Hours of the day", asked.currency, columns, rows)

    @cached_property
    def cancellations(self) -> Table:
        days = [self.sales.days[day] for day in self.asked.period.days if day in self.sales.days]
        return orders.cancellations(days, self.asked.currency)

    @cached_property
    def months(self) -> Table:
        today = self.asked.period.today
        first = date.fromisoformat(f"{customers.last_months(today)[0]}-01")
        sold = queries.monthly_sales(self.asked.tenant, first, today, currency=self.asked.currency)
        return customers.month_table(sold, self.matrix, today, self.asked.currency)

    @cached_property
    def funnel_table(self) -> Table:
        return orders.funnel_table(self.steps, self.asked.currency)

    @cached_property
    def cohort_table(self) -> Table:
        return customers.cohort_table(self.cohorts, self.asked.currency)


TABLES: dict[str, Callable[[Figures], Table]] = {
    "days": lambda figures: figures.sales.by_day,
    "hours": lambda figures: figures.sales.by_hour,
    "sales-by-month": lambda figures: figures.sales.by_month,
    "hours-of-day": lambda figures: figures.hours_of_day,
    "funnel": lambda figures: figures.funnel_table,
    "cancellations": lambda figures: figures.cancellations,
    "products": lambda figures: figures.top_products(limit=None),
    "cohorts": lambda figures: figures.cohort_table,
    "months": lambda figures: figures.months,
}
"""What is exported, by its name."""


def _product(product: TopProduct) -> tuple[str | int, ...]:
    return (
        product.name,
        product.product_id,
        product.total_revenue,
        product.units_sold,
        product.times_ordered,
    )


def bars(products: Table) -> list[str]:
    """How long the bar of each product's revenue is, the longest one 100."""
    found = [int(row[2] or 0) for row in products.rows]
    most = max([1, *found])
    return [f"{100 * max(0, revenue) / most:.1f}" for revenue in found]
