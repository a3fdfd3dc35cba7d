"""What the analytics service stores: figures that grow with every order.

An order is counted on the business day (and hour) it was placed on, and taken off on the one it
was cancelled on. Rows therefore keep both: what was placed, and what was cancelled meanwhile; the
net figures are the difference, and may be negative for a day that undid more than it sold.
Nothing is ever changed in a day that is over. Each row is in one currency; amounts are in its
minor units.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.tables import service_tables

tables = service_tables("analytics")


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


class DailyCustomer(ReadModel):
    """That a customer placed orders on a day: what makes `unique_customers` real."""

    key = ("day", "currency", "customer_id")

    day = models.DateField()
    currency = models.CharField(max_length=3)
    customer_id = models.CharField(max_length=80)
    orders = models.IntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "day", "currency", "customer_id"],
                name="analytics_dailycustomer_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} on {self.day}"


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
