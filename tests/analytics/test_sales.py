"""What was sold, by day, hour and product."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any, TypeVar

import pytest

from analytics.models import DailySales, HourlySales, PlacedOrder, ProductSales, average
from analytics.projections import cancelled_sales, product_name, sales
from ecommerce.messaging.models import ReadModel, Row
from ecommerce.messaging.registry import Rows
from tests.analytics.examples import (
    DESK,
    MORE_MICE,
    MORNING,
    MOUSE,
    NEXT_DAY,
    cancelled,
    placed,
    product,
    project,
)
from tests.projecting import columns, state

DAY = date(2026, 3, 2)
R = TypeVar("R", bound=Row)


def only(rows: list[Row], model: type[R]) -> R:
    (row,) = [row for row in rows if isinstance(row, model)]
    return row


def test_an_order_counts_in_its_business_day_hour_and_products() -> None:
    # when
    order = placed("o1", MOUSE, MORE_MICE, DESK, shipping=500)
    rows = sales(order, None, None, None, None, None, Rows())
    # then
    assert [(type(row).__name__, figures(row)) for row in rows] == [
        (
            "DailySales",
            {
                "day": DAY,
                "currency": "USD",
                "orders": 1,
                "revenue": 23400,
                "items": 4,
                "cancelled_orders": 0,
                "cancelled_revenue": 0,
                "cancelled_items": 0,
                "unique_customers": 1,
                "cancelled_for": {},
            },
        ),
        (
            "HourlySales",
            {
                "day": DAY,
                "hour": datetime(2026, 3, 1, 18, 30, tzinfo=UTC),
                "currency": "USD",
                "orders": 1,
                "revenue": 23400,
                "cancelled_orders": 0,
                "cancelled_revenue": 0,
            },
        ),
        (
            "PlacedOrder",
            {
                "order_id": "o1",
                "currency": "USD",
                "day": DAY,
                "customer_id": "cust-1",
                "reached": 0,
                "cancel_reason": "",
            },
        ),
        ("Buyer", {"currency": "USD", "customer_id": "cust-1", "days": ["2026-03-02"]}),
        ("Cohorts", {"currency": "USD", "customers": {"2026-03": {"2026-03": 1}}}),
        ("ProductSales", of_product("mouse", times=1, units=3, revenue=2900)),
        ("ProductSales", of_product("desk", times=1, units=1, revenue=20000)),
    ]


def figures(row: Row) -> dict[str, Any]:
    return {name: value for name, value in columns(row).items() if name != "tenant"}


def of_product(product_id: str, *, times: int, units: int, revenue: int) -> dict[str, Any]:
    return {
        "product_id": product_id,
        "day": DAY,
        "currency": "USD",
        "times_ordered": times,
        "units_sold": units,
        "revenue": revenue,
        "times_cancelled": 0,
        "units_cancelled": 0,
        "cancelled_revenue": 0,
    }


def test_a_cancelled_order_is_taken_off_on_the_day_it_was_cancelled() -> None:
    # given
    order = placed("o1", MOUSE, shipping=500)
    before: list[ReadModel] = sales(order, None, None, None, None, None, Rows())
    untouched = state(before)
    # when
    rows = cancelled_sales(cancelled(order), None, None, None, Rows())
    # then
    assert state(before) == untouched
    day, hour, left, mouse = rows
    assert isinstance(day, DailySales)
    assert (day.day, day.orders, day.unique_customers) == (date(2026, 3, 3), 0, 0)
    assert (day.total_orders, day.total_revenue, day.total_items_sold) == (-1, -2500, -2)
    assert day.avg_order_value == 0
    assert day.cancelled_for == {"customer_request": 1}
    assert isinstance(left, PlacedOrder)
    assert (left.order_id, left.cancel_reason) == ("o1", "customer_request")
    assert isinstance(hour, HourlySales)
    assert hour.hour == NEXT_DAY.replace(minute=0)
    assert (hour.total_orders, hour.total_revenue) == (-1, -2500)
    assert isinstance(mouse, ProductSales)
    assert (mouse.times_cancelled, mouse.units_cancelled, mouse.cancelled_revenue) == (1, 2, 2000)


def test_a_customer_counts_once_a_day_and_again_the_next_day() -> None:
    # when
    rows = project(
        [
            placed("o1"),
            placed("o2"),
            placed("o3", customer_id="cust-2"),
            placed("o4", at=NEXT_DAY),
        ]
    )
    # then
    days = {row.day: row.unique_customers for row in rows if isinstance(row, DailySales)}
    assert days == {DAY: 2, date(2026, 3, 3): 1}


def test_an_order_cancelled_the_same_day_leaves_a_customer_but_no_sales() -> None:
    # given
    order = placed()
    # when
    day = only(project([order, cancelled(order, at=MORNING + timedelta(hours=1))]), DailySales)
    # then
    assert (day.total_orders, day.total_revenue, day.total_items_sold) == (0, 0, 0)
    assert (day.orders, day.cancelled_orders, day.unique_customers) == (1, 1, 1)


def test_currencies_are_kept_apart() -> None:
    # when
    rows = project([placed("o1"), placed("o2", currency="EUR")])
    # then
    days = [row for row in rows if isinstance(row, DailySales)]
    assert [(day.currency, day.revenue, day.unique_customers) for day in days] == [
        ("USD", 2000, 1),
        ("EUR", 2000, 1),
    ]


def test_figures_do_not_depend_on_the_order_of_events() -> None:
    # given
    first, second = placed("o1", MOUSE, DESK), placed("o2", MORE_MICE)
    events = [
        first,
        cancelled(first),
        second,
        cancelled(second, at=MORNING + timedelta(minutes=5)),
        placed("o3", customer_id="cust-2"),
    ]
    # when
    ends = [state(project(order)) for order in permutations(events)]
    # then
    assert len(ends) == 120
    assert all(end == ends[0] for end in ends)


def test_a_products_name_is_the_catalogues() -> None:
    # given
    known = product_name(product(name="Mouse"), None)
    # when
    same = product_name(product(name="Quiet mouse"), known)
    # then
    assert same is known
    assert figures(known) == {"product_id": "mouse", "name": "Quiet mouse"}


@pytest.mark.parametrize(
    ("amount", "times", "expected"),
    [(1000, 3, 333), (500, 3, 167), (5, 2, 3), (-2500, -1, 0), (0, 0, 0)],
)
def test_an_average_is_rounded_to_a_minor_unit(amount: int, times: int, expected: int) -> None:
    assert average(amount, times) == expected
