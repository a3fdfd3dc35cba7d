"""What the analytics service stores: figures that grow with every order.

An order is counted on the business day (and hour) it was placed on, and taken off on the one it
was cancelled on. Rows therefore keep both: what was placed, and what was cancelled meanwhile; the
net figures are the difference, and may be negative for a day that undid more than it sold.
Nothing is ever changed in the sums of a day that is over; how far its orders come is kept with each
of them. Each row is in one currency; amounts are in its minor units.
"""

from __future__ import annotations

from bisect import insort
from datetime import date
from typing import ClassVar

from django.db import models
from django.db.models import Q

from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.tables import service_tables

tables = service_tables("analytics")

STEPS = ("placed", "held", "paid", "shipped", "delivered")
"""What an order comes to, one after the other, unless it is cancelled."""


class DailySales(ReadModel):
    """A business day's sales in one currency.

    `unique_customers` placed an order on that day, whether or not it was cancelled afterwards.
    """

    key = ("day", "currency")

    day = models.DateField()
    currency = models.CharField(max_length=3)
    orders = models.IntegerField(default=0)
    revenue = models.BigIntegerField(default=0)
    items = models.IntegerField(default=0)
    cancelled_orders = models.IntegerField(default=0)
    cancelled_revenue = models.BigIntegerField(default=0)
    cancelled_items = models.IntegerField(default=0)
    unique_customers = models.IntegerField(default=0)
    cancelled_for = models.JSONField(
        default=dict, blank=True, help_text="How many were cancelled on the day, by reason."
    )

    class Meta:
        verbose_name_plural = "daily sales"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "day", "currency"], name="analytics_dailysales_once"
            ),
            models.CheckConstraint(
                condition=Q(
                    orders__gte=0,
                    revenue__gte=0,
                    items__gte=0,
                    cancelled_orders__gte=0,
                    cancelled_revenue__gte=0,
                    cancelled_items__gte=0,
                ),
                name="analytics_dailysales_no_negative_figure",
            ),
            models.CheckConstraint(
                condition=Q(unique_customers__lte=models.F("orders")),
                name="analytics_dailysales_no_customer_without_order",
            ),
        ]

    def __str__(self) -> str:
        return f"sales of {self.day} in {self.currency}"

    @property
    def total_orders(self) -> int:
        return self.orders - self.cancelled_orders

    @property
    def total_revenue(self) -> int:
        return self.revenue - self.cancelled_revenue

    @property
    def total_items_sold(self) -> int:
        return self.items - self.cancelled_items

    @property
    def avg_order_value(self) -> int:
        """Net revenue for each net order, rounded to a minor unit; 0 on a day without any."""
        return average(self.total_revenue, self.total_orders)


class Buyer(ReadModel):
    """On which days a customer ordered in one currency: what makes `unique_customers` real."""

    key = ("currency", "customer_id")

    currency = models.CharField(max_length=3)
    customer_id = models.CharField(max_length=80)
    days = models.JSONField(default=list, help_text="Each day once, in order.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "currency", "customer_id"], name="analytics_buyer_once"
            ),
        ]

    def __str__(self) -> str:
        return f"orders of {self.customer_id} in {self.currency}"

    @property
    def months(self) -> list[str]:
        """The months in which they ordered, such as 2026-03, in order."""
        return list(dict.fromkeys(day[:7] for day in self.days))

    def ordered_on(self, day: date) -> bool:
        """Note a day; False when it was known."""
        if (text := day.isoformat()) in self.days:
            return False
        insort(self.days, text)
        return True


class Cohorts(ReadModel):
    """How many of the customers who first ordered in a month ordered in which months."""

    key = "currency"

    currency = models.CharField(max_length=3)
    customers = models.JSONField(
        default=dict, help_text="By the month of the first order, then by month."
    )

    class Meta:
        verbose_name_plural = "cohorts"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "currency"], name="analytics_cohorts_once"),
        ]

    def __str__(self) -> str:
        return f"cohorts in {self.currency}"

    def move(self, before: list[str], after: list[str]) -> None:
        """Count a customer by the months in which they are known to have ordered now.

        What was heard late may come before their first month: they leave that cohort then.
        """
        if before != after:
            self._add(before, -1)
            self._add(after, 1)

    def _add(self, months: list[str], change: int) -> None:
        for month in months:
            cohort = self.customers.setdefault(months[0], {})
            cohort[month] = cohort.get(month, 0) + change
            if not cohort[month]:
                del cohort[month]
        if months and not self.customers[months[0]]:
            del self.customers[months[0]]


class PlacedOrder(ReadModel):
    """How far an order came. Until its `OrderCreated` is heard it has no `day`, and counts nowhere.

    The event of a later step does not say when its order was placed, so there is a row for each.
    """

    key = "order_id"

    order_id = models.CharField(max_length=80)
    currency = models.CharField(max_length=3, default="", blank=True)
    day = models.DateField(null=True, blank=True, help_text="When it was placed.")
    customer_id = models.CharField(max_length=80, default="", blank=True)
    reached = models.SmallIntegerField(default=0, help_text="The last of the steps it came to.")
    cancel_reason = models.CharField(max_length=40, default="", blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "order_id"], name="analytics_placedorder_once"
            ),
            models.CheckConstraint(
                condition=Q(reached__gte=0, reached__lt=len(STEPS)),
                name="analytics_placedorder_no_unknown_step",
            ),
        ]
        # Without what changes with each step: such an update writes no index.
        indexes: ClassVar = [
            models.Index(fields=["tenant", "currency", "day"], name="placedorder_of_day")
        ]

    def __str__(self) -> str:
        return f"order {self.order_id}"

    def come_to(self, step: str) -> None:
        """Note a step; an earlier one that is heard late changes nothing."""
        self.reached = max(self.reached, STEPS.index(step))


class HourlySales(ReadModel):
    """Sales of one hour of a business day. `hour` is the instant at which it began."""

    key = ("day", "hour", "currency")

    day = models.DateField()
    hour = models.DateTimeField()
    currency = models.CharField(max_length=3)
    orders = models.IntegerField(default=0)
    revenue = models.BigIntegerField(default=0)
    cancelled_orders = models.IntegerField(default=0)
    cancelled_revenue = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "hourly sales"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "day", "hour", "currency"], name="analytics_hourlysales_once"
            ),
            models.CheckConstraint(
                condition=Q(
                    orders__gte=0,
                    revenue__gte=0,
                    cancelled_orders__gte=0,
                    cancelled_revenue__gte=0,
                ),
                name="analytics_hourlysales_no_negative_figure",
            ),
        ]

    def __str__(self) -> str:
        return f"sales of the hour {self.hour} in {self.currency}"

    @property
    def total_orders(self) -> int:
        return self.orders - self.cancelled_orders

    @property
    def total_revenue(self) -> int:
        return self.revenue - self.cancelled_revenue


class ProductSales(ReadModel):
    """A product's sales on a business day. Revenue is its lines' totals, before any discount."""

    key = ("product_id", "day", "currency")

    product_id = models.CharField(max_length=80)
    day = models.DateField()
    currency = models.CharField(max_length=3)
    times_ordered = models.IntegerField(default=0, help_text="In how many orders it stood.")
    units_sold = models.IntegerField(default=0)
    revenue = models.BigIntegerField(default=0)
    times_cancelled = models.IntegerField(default=0)
    units_cancelled = models.IntegerField(default=0)
    cancelled_revenue = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "product sales"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "product_id", "day", "currency"],
                name="analytics_productsales_once",
            ),
            models.CheckConstraint(
                condition=Q(
                    times_ordered__gte=0,
                    units_sold__gte=0,
                    revenue__gte=0,
                    times_cancelled__gte=0,
                    units_cancelled__gte=0,
                    cancelled_revenue__gte=0,
                ),
                name="analytics_productsales_no_negative_figure",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "day"], name="productsales_of_day")]

    def __str__(self) -> str:
        return f"sales of {self.product_id} on {self.day} in {self.currency}"


class ProductName(ReadModel):
    """What a product is called in the catalogue."""

    key = "product_id"

    product_id = models.CharField(max_length=80)
    name = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "product_id"], name="analytics_productname_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} {self.name}"


def average(amount: int, times: int) -> int:
    """An amount shared over a number of orders, rounded to a minor unit; 0 over none."""
    return (2 * amount + times) // (2 * times) if times > 0 else 0
