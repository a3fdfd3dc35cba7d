"""The figures at the top: each with how it changed, and its course as a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .sales import Sales
from .tables import Kind, Value, share, shown

SPARK = (100, 24)
"""Width and height of a line."""


@dataclass(frozen=True)
class Tile:
    """One figure. `more_is_better` says what to think of its change."""

    title: str
    value: Value
    before: Value
    kind: Kind
    currency: str
    course: Sequence[float] = ()
    more_is_better: bool = True

    @property
    def text(self) -> str:
        return shown(self.value, self.kind, self.currency)

    @property
    def text_before(self) -> str:
        return shown(self.before, self.kind, self.currency)

    @property
    def change(self) -> float | None:
        """By which part of what it was before; None when that says nothing."""
        if not isinstance(self.value, int | float) or not isinstance(self.before, int | float):
            return None
        return (self.value - self.before) / self.before if self.before > 0 else None

    @property
    def change_text(self) -> str:
        change = abs(self.change or 0)
        return f"{change:.0%}" if change >= 0.1 else f"{change:.1%}"

    @property
    def tone(self) -> str:
        if not self.change or abs(self.change) < 0.0005:
            return "same"
        return "good" if (self.change > 0) == self.more_is_better else "bad"

    @property
    def spark(self) -> str:
        """The points of a line over the period; empty when there is nothing to see."""
        low, high = min(0.0, *self.course, 0.0), max(0.0, *self.course, 0.0)
        if len(self.course) < 2 or low == high:
            return ""
        width, height = SPARK
        step, scale = width / (len(self.course) - 1), height / (high - low)
        points = enumerate(self.course)
        return " ".join(f"{i * step:.1f},{height - (each - low) * scale:.1f}" for i, each in points)


def tiles(sales: Sales, customers: int, customers_before: int | None) -> list[Tile]:
    """The figures of a period, beside the period before."""
    now, before, currency = sales.sold, sales.sold_before, sales.asked.currency
    course = sales.course
    return [
        Tile(
            "Revenue",
            now.revenue,
            before.revenue,
            "money",
            currency,
            _numbers(each.revenue for each in course),
        ),
        Tile(
            "Orders",
            now.orders,
            before.orders,
            "count",
            currency,
            _numbers(each.orders for each in course),
        ),
        Tile(
            "Average order",
            now.average,
            before.average,
            "money",
            currency,
            _numbers(each.average for each in course),
        ),
        Tile(
            "Customers",
            customers,
            customers_before,
            "count",
            currency,
            _numbers(each.customers for each in course),
        ),
        Tile(
            "Cancelled",
            share(now.cancelled, now.placed),
            share(before.cancelled, before.placed),
            "share",
            currency,
            _numbers(each.cancelled for each in course),
            more_is_better=False,
        ),
    ]


def _numbers(values: Iterable[int]) -> list[float]:
    return [float(value) for value in values]
