"""Who came back: equal to counting every customer's orders, however late some are heard."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, timedelta
from itertools import permutations

import pytest

from analytics.models import Buyer, Cohorts
from analytics.pages.customers import cohort_table, cohorts, last_months, month_table
from analytics.queries import Month
from orders.contracts import OrderCreated
from tests.analytics.examples import MORNING, placed, project

Matrix = dict[str, dict[str, int]]


def ordered(customer: str, *days: str) -> list[OrderCreated]:
    return [
        placed(
            f"{customer}-{number}",
            customer_id=customer,
            at=MORNING.replace(year=int(day[:4]), month=int(day[5:7]), day=int(day[8:])),
        )
        for number, day in enumerate(days)
    ]


def matrix_of(events: list[OrderCreated], currency: str = "USD") -> Matrix:
    (row,) = [r for r in project(events) if isinstance(r, Cohorts) and r.currency == currency]
    customers: Matrix = row.customers
    return customers


def counted(events: list[OrderCreated], currency: str = "USD") -> Matrix:
    """The same by brute force: for every two months, every customer."""
    months: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.totals.currency == currency:
            months[event.customer_id].add(f"{event.created_at:%Y-%m}")
    every = sorted(set().union(*months.values()))
    found = {
        first: {
            month: sum(min(own) == first and month in own for own in months.values())
            for month in every
        }
        for first in every
    }
    return {
        first: {month: count for month, count in row.items() if count}
        for first, row in found.items()
        if any(row.values())
    }


def history(seed: int) -> list[OrderCreated]:
    chance = random.Random(seed)
    return [
        placed(
            f"o{number}",
            customer_id=f"cust-{chance.randrange(40)}",
            currency=chance.choice(["USD", "USD", "EUR"]),
            at=MORNING + timedelta(days=chance.randrange(400)),
        )
        for number in range(300)
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_cohorts_equal_those_of_brute_force_in_any_order_of_events(
    seed: int, currency: str
) -> None:
    events = history(seed)
    random.Random(seed).shuffle(events)

    assert matrix_of(events, currency) == counted(events, currency)


def test_an_earlier_order_that_is_heard_late_moves_its_customer() -> None:
    events = ordered("cust-1", "2026-03-05", "2026-05-01", "2026-05-09", "2026-01-31")
    expected = {"2026-01": {"2026-01": 1, "2026-03": 1, "2026-05": 1}}

    assert all(matrix_of(list(each)) == expected for each in permutations(events))


def test_control_counting_by_the_first_order_heard_depends_on_their_order() -> None:
    def hasty(events: list[OrderCreated]) -> Matrix:
        first: dict[str, str] = {}
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for event in events:
            month = f"{event.created_at:%Y-%m}"
            found[first.setdefault(event.customer_id, month)][month] += 1
        return {month: dict(row) for month, row in found.items()}

    events = ordered("cust-1", "2026-03-05", "2026-01-31")

    assert hasty(events) != hasty(events[::-1])


def test_a_buyers_days_are_kept_once_each_and_in_order() -> None:
    rows = project(ordered("cust-1", "2026-03-05", "2026-01-31", "2026-03-05"))
    (buyer,) = [row for row in rows if isinstance(row, Buyer)]

    assert buyer.days == ["2026-01-31", "2026-03-05"]
    assert buyer.months == ["2026-01", "2026-03"]


def test_the_last_months_end_with_the_current_one() -> None:
    months = last_months(date(2026, 3, 31))

    assert (months[0], months[-2:], len(months)) == ("2025-04", ["2026-02", "2026-03"], 12)


def test_the_table_says_what_part_came_back_and_leaves_the_future_out() -> None:
    events = [
        *ordered("a", "2026-01-02", "2026-02-02", "2026-03-02"),
        *ordered("b", "2026-01-30", "2026-03-01"),
        *ordered("c", "2026-02-14"),
    ]

    table = cohort_table(cohorts(matrix_of(events), date(2026, 3, 20)), "USD")

    none = (None,) * 9
    assert list(table.rows) == [("2026-01", 2, 0.5, 1.0, *none), ("2026-02", 1, 0.0, None, *none)]


def test_a_month_has_its_customers_and_how_many_of_them_were_new() -> None:
    events = [*ordered("a", "2026-02-02", "2026-03-02"), *ordered("b", "2026-03-01")]
    sold = [Month(date(2026, 3, 1), 3, 9000, 0)]

    table = month_table(sold, matrix_of(events), date(2026, 3, 20), "USD")

    assert table.rows[-1] == ("2026-03", 9000, 3, 3000, 2, 1, 0.5)
    assert table.rows[-2] == ("2026-02", 0, 0, 0, 1, 1, 0.0)
    assert table.rows[0] == ("2025-04", 0, 0, 0, 0, 0, None)
