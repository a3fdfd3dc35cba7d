"""Revenue and orders over time: by hour, by day, and by month where days would be too many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from analytics import queries
from analytics.models import DailySales, HourlySales, average
from ecommerce.identity import tenants

from .asked import Asked
from .tables import Column, Table, Value

MOST_BARS = 92
"""Longer periods are drawn by month."""
SOLD = (
    Column("revenue", "Revenue", "money"),
    Column("orders", "Orders"),
    Column("average", "Average order", "money"),
    Column("cancelled", "Cancelled"),
)
BEFORE = (
    Column("revenue_before", "Revenue before", "money"),
    Column("orders_before", "Orders before"),
)


@dataclass
class Sold:
    """What some rows add up to, net but for what it says."""

    placed: int = 0
    cancelled: int = 0
    revenue: int = 0
    customers: int = 0

    @classmethod
    def of(cls, rows: Iterable[DailySales | HourlySales | None]) -> Sold:
        """`customers` are those of a single day."""
        sold = cls()
        for row in rows:
            if row is None:
                continue
            sold.placed += row.orders
            sold.cancelled += row.cancelled_orders
            sold.revenue += row.total_revenue
            sold.customers = row.unique_customers if isinstance(row, DailySales) else 0
        return sold

    @property
    def orders(self) -> int:
        return self.placed - self.cancelled

    @property
    def average(self) -> int:
        return average(self.revenue, self.orders)

    @property
    def values(self) -> tuple[int, ...]:
        """In the order of SOLD."""
        return self.revenue, self.orders, self.average, self.cancelled


class Sales:
    """The sales that are asked for, beside those of the period before."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.period, self.before = asked.period, asked.period.before

    @cached_property
    def days(self) -> dict[date, DailySales]:
        """Both periods' days on which anything was sold."""
        found = queries.daily_sales(
            self.asked.tenant, self.before.first, self.period.last, currency=self.asked.currency
        )
        return {row.day: row for row in found}

    @cached_property
    def hours(self) -> tuple[dict[int, HourlySales], dict[int, HourlySales]]:
        """Those of the first day, and of the day before. Where clocks are put back, the later of
        two hours that are called alike."""
        tenant, currency = self.asked.tenant, self.asked.currency

        def of(day: date) -> dict[int, HourlySales]:
            found = queries.hourly_sales(tenant, day, currency=currency)
            return {tenants.local_time(row.hour, tenant).hour: row for row in found}

        return of(self.period.first), of(self.before.last)

    @cached_property
    def sold(self) -> Sold:
        return Sold.of(map(self.days.get, self.period.days))

    @cached_property
    def sold_before(self) -> Sold:
        """On a day that is not over, what the day before had sold by this hour."""
        if self.period.is_today:
            _, before = self.hours
            return Sold.of(row for hour, row in before.items() if hour <= self.asked.now.hour)
        return Sold.of(map(self.days.get, self.before.days))

    @property
    def course(self) -> list[Sold]:
        """Hour by hour, as far as the day has come, or day by day."""
        if len(self.period.days) > 1:
            return [Sold.of([self.days.get(day)]) for day in self.period.days]
        until = self.asked.now.hour + 1 if self.period.is_today else 24
        return [Sold.of([self.hours[0].get(hour)]) for hour in range(until)]

    @property
    def over_time(self) -> Table:
        """By hour, day or month, whichever has not too many rows."""
        count = len(self.period.days)
        if count == 1:
            return self.by_hour
        return self.by_day if count <= MOST_BARS else self.by_month

    @property
    def by_hour(self) -> Table:
        """The hours of the first day. Nobody knows yet what those to come will bring."""
        rows: list[tuple[Value, ...]] = []
        for hour in range(24):
            now, before = (Sold.of([day.get(hour)]) for day in self.hours)
            is_to_come = self.period.is_today and hour > self.asked.now.hour
            values = [None] * len(SOLD) if is_to_come else now.values
            rows.append((f"{hour:02}:00", *values, before.revenue, before.orders))
        columns = (Column("label", "Hour", "text"), *SOLD, *BEFORE)
        return Table("hours", "Sales by hour", self.asked.currency, columns, rows)

    @property
    def by_day(self) -> Table:
        """Each day beside the one in its place in the period before."""
        rows: list[tuple[Value, ...]] = []
        for day, earlier in zip(self.period.days, self.before.days, strict=True):
            now, before = (Sold.of([self.days.get(each)]) for each in (day, earlier))
            customers, ends = now.customers, (before.revenue, before.orders)
            rows.append((day.isoformat(), *now.values, customers, *ends))
        columns = (Column("label", "Day", "day"), *SOLD, Column("customers", "Customers"), *BEFORE)
        return Table("days", "Sales by day", self.asked.currency, columns, rows)

    @property
    def by_month(self) -> Table:
        """The months, as far as they are in the period."""
        months: dict[str, list[DailySales | None]] = {}
        for day in self.period.days:
            months.setdefault(day.isoformat()[:7], []).append(self.days.get(day))
        rows: list[tuple[Value, ...]] = [
            (month, *Sold.of(days).values) for month, days in months.items()
        ]
        columns = (Column("label", "Month", "month"), *SOLD)
        return Table("sales-by-month", "Sales by month", self.asked.currency, columns, rows)
