"""What became of the orders of a period: how far they came, and why some fell out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analytics import queries
from analytics.models import STEPS, DailySales
from analytics.queries import Standing

from .asked import Asked
from .tables import Column, Table, share

NAMES = {
    "placed": "Placed",
    "held": "Stock held",
    "paid": "Paid",
    "shipped": "Shipped",
    "delivered": "Delivered",
}
REASONS = {
    "customer_request": "The customer changed their mind",
    "insufficient_stock": "Not enough stock",
    "reservation_timeout": "Stock was not held in time",
    "payment_declined": "The payment was declined",
    "payment_timeout": "The payment took too long",
    "shipment_failed": "The carrier refused it",
}


@dataclass(frozen=True)
class Step:
    """One step of the funnel: those who came to it, and what became of them next."""

    name: str
    reached: int
    of_all: float | None
    went_on: int
    waiting: int
    left: tuple[tuple[str, int], ...]
    """Why how many were cancelled here, the most frequent reason first."""

    @property
    def left_here(self) -> int:
        return sum(orders for _, orders in self.left)


def funnel(found: Sequence[Standing]) -> list[Step]:
    """The steps in their order."""
    steps = []
    placed = sum(each.orders for each in found)
    for number, step in enumerate(STEPS):
        reached = sum(each.orders for each in found if each.reached >= number)
        here = [each for each in found if each.reached == number]
        left = Counter({each.cancel_reason: each.orders for each in here if each.cancel_reason})
        stays = sum(each.orders for each in here if not each.cancel_reason)
        is_end = step == STEPS[-1]
        steps.append(
            Step(
                name=NAMES[step],
                reached=reached,
                of_all=share(reached, placed),
                went_on=stays if is_end else reached - stays - left.total(),
                waiting=0 if is_end else stays,
                left=tuple((reason(name), orders) for name, orders in left.most_common()),
            )
        )
    return steps


def standings(asked: Asked) -> list[Standing]:
    period = asked.period
    return queries.standings(asked.tenant, period.first, period.last, currency=asked.currency)


def funnel_table(steps: Sequence[Step], currency: str) -> Table:
    """The funnel, step by step."""
    rows = [(s.name, s.reached, s.of_all, s.went_on, s.waiting, s.left_here) for s in steps]
    columns = (
        Column("label", "Step", "text"),
        Column("reached", "Orders"),
        Column("of_all", "Of all", "share"),
        Column("went_on", "Went on"),
        Column("waiting", "Under way"),
        Column("left", "Cancelled here"),
    )
    return Table("funnel", "How far orders came", currency, columns, rows)


def cancellations(days: Sequence[DailySales], currency: str) -> Table:
    """What was cancelled on these days, the most frequent reason first."""
    found: Counter[str] = Counter()
    for day in days:
        found.update(day.cancelled_for)
    rows = [
        (reason(name), orders, share(orders, found.total())) for name, orders in found.most_common()
    ]
    columns = (
        Column("label", "Reason", "text"),
        Column("orders", "Orders"),
        Column("share", "Share", "share"),
    )
    return Table("cancellations", "Why orders were cancelled", currency, columns, rows)


def reason(name: str) -> str:
    """A reason in words; one that is new as it is called."""
    return REASONS.get(name, name.replace("_", " ").capitalize())
