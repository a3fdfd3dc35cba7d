"""Who comes back: customers by the month of their first order, and what each month brought."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from analytics.queries import Month

from .asked import Matrix
from .tables import Column, Table, Value, month_name, share

SHOWN = 12
"""Months."""
SHADES = 8


def last_months(today: date) -> list[str]:
    """The months that are shown, such as 2026-03, the current one last."""
    last = today.year * 12 + today.month - 1
    return [f"{n // 12:04}-{n % 12 + 1:02}" for n in range(last - SHOWN + 1, last + 1)]


@dataclass(frozen=True)
class Kept:
    """Which part of a cohort ordered in a month, and how dark its field is."""

    share: float
    customers: int
    shade: int

    @property
    def text(self) -> str:
        return f"{self.share:.0%}"


@dataclass(frozen=True)
class Cohort:
    """The customers who first ordered in a month, and what part of them did so later."""

    month: str
    customers: int
    kept: tuple[Kept, ...]
    """From the month after the first."""

    @property
    def title(self) -> str:
        return month_name(self.month)


def cohorts(matrix: Matrix, today: date) -> list[Cohort]:
    """Those of the months that are shown, the oldest first; months without new customers are left
    out."""
    months = last_months(today)
    return [
        Cohort(
            month,
            matrix[month][month],
            tuple(_kept(matrix[month], month, later) for later in months if later > month),
        )
        for month in months
        if month in matrix
    ]


def _kept(cohort: dict[str, int], first: str, month: str) -> Kept:
    customers = cohort.get(month, 0)
    part = customers / cohort[first]
    return Kept(part, customers, min(SHADES, int(part * 2 * SHADES) + 1) if customers else 0)


def cohort_table(found: list[Cohort], currency: str) -> Table:
    """A row for each cohort: its customers, and the share that ordered one month later, two, …"""
    rows: list[tuple[Value, ...]] = []
    for cohort in found:
        shares: list[Value] = [each.share for each in cohort.kept]
        unknown = [None] * (SHOWN - 1 - len(shares))
        rows.append((cohort.month, cohort.customers, *shares, *unknown))
    later = tuple(Column(f"month_{n}", f"Month {n}", "share") for n in range(1, SHOWN))
    columns = (Column("label", "First order", "month"), Column("customers", "Customers"), *later)
    return Table("cohorts", "Customers who came back", currency, columns, rows)


def month_table(sold: list[Month], matrix: Matrix, today: date, currency: str) -> Table:
    """A row for each month that is shown: what was sold, to how many, and how many were new."""
    by_month = {f"{month.first_day:%Y-%m}": month for month in sold}
    rows: list[tuple[Value, ...]] = []
    for name in last_months(today):
        month = by_month.get(name) or Month(today, 0, 0, 0)
        customers = sum(cohort.get(name, 0) for cohort in matrix.values())
        new = matrix.get(name, {}).get(name, 0)
        back = share(customers - new, customers)
        rows.append((name, month.revenue, month.orders, month.average, customers, new, back))
    columns = (
        Column("label", "Month", "month"),
        Column("revenue", "Revenue", "money"),
        Column("orders", "Orders"),
        Column("average", "Average order", "money"),
        Column("customers", "Customers"),
        Column("new", "New"),
        Column("back", "Came back", "share"),
    )
    return Table("months", "Month by month", currency, columns, rows)
