"""What the analytics API takes and gives."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field, StringConstraints

from ecommerce.web import Input, MoneyOut, Output

from .models import DailySales, HourlySales

Currency = Annotated[
    Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] | None,
    Field(description="Only figures in this currency (ISO 4217)."),
]


class Period(Input):
    """Business days of the shop, both included; the last 30 when neither is given."""

    start_date: Annotated[dt.date | None, Field(description="29 days before the end.")] = None
    end_date: Annotated[dt.date | None, Field(description="Today.")] = None
    currency: Currency = None


class TopOfPeriod(Period):
    """How many products of a period."""

    limit: Annotated[int, Field(ge=1, le=100, description="How many products at most.")] = 10


class InCurrency(Input):
    """One currency."""

    currency: Annotated[
        Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] | None,
        Field(description="In which currency (ISO 4217); the shop's own unless given."),
    ] = None


class Day(Input):
    """A business day of the shop."""

    date: Annotated[dt.date | None, Field(description="Today, unless given.")] = None
    currency: Currency = None


class DailySalesOut(Output):
    """A business day, net of what was cancelled on it: figures may be negative.

    `uniqueCustomers` placed an order on the day, cancelled or not.
    """

    date: dt.date
    currency: str
    total_orders: int
    total_revenue: MoneyOut
    total_items_sold: int
    avg_order_value: MoneyOut
    unique_customers: int
    cancelled_orders: int
    cancelled_revenue: MoneyOut

    @classmethod
    def of(cls, day: DailySales) -> DailySalesOut:
        return cls(
            date=day.day,
            currency=day.currency,
            total_orders=day.total_orders,
            total_revenue=day.total_revenue,
            total_items_sold=day.total_items_sold,
            avg_order_value=day.avg_order_value,
            unique_customers=day.unique_customers,
            cancelled_orders=day.cancelled_orders,
            cancelled_revenue=day.cancelled_revenue,
        )


class HourlySalesOut(Output):
    """An hour of a business day, net of what was cancelled in it."""

    hour: dt.datetime
    currency: str
    total_orders: int
    total_revenue: MoneyOut

    @classmethod
    def of(cls, sales: HourlySales, hour: dt.datetime) -> HourlySalesOut:
        """The row, with its hour in the shop's time."""
        return cls(
            hour=hour,
            currency=sales.currency,
            total_orders=sales.total_orders,
            total_revenue=sales.total_revenue,
        )


class MonthlySalesOut(Output):
    """A month, net of what was cancelled in it. `newCustomers` ordered for the first time."""

    month: Annotated[str, Field(examples=["2026-03"])]
    currency: str
    total_orders: int
    total_revenue: MoneyOut
    avg_order_value: MoneyOut
    unique_customers: int
    new_customers: int


class CohortOut(Output):
    """The customers whose first order was in a month, and how many of them ordered in each later
    one, in which any did."""

    month: Annotated[str, Field(examples=["2026-03"])]
    currency: str
    customers: int
    came_back: Annotated[dict[str, int], Field(examples=[{"2026-04": 12, "2026-06": 7}])]


class TopProductOut(Output):
    """A product over a period, net of what was cancelled in it."""

    product_id: str
    name: str
    currency: str
    times_ordered: int
    units_sold: int
    total_revenue: MoneyOut
    avg_revenue_per_order: MoneyOut
