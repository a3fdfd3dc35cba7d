"""Sales figures in the admin, to read. Net figures: what was cancelled is taken off."""

from __future__ import annotations

from django.contrib import admin

from ecommerce.messaging.backoffice import ReadOnlyAdmin, money

from .models import (
    STEPS,
    Buyer,
    Cohorts,
    DailySales,
    HourlySales,
    PlacedOrder,
    ProductName,
    ProductSales,
)


@admin.register(DailySales)
class DailySalesAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "calendar_month"
    list_display = (
        "day",
        "total_orders",
        money("total_revenue"),
        money("avg_order_value", "average order"),
        "total_items_sold",
        "unique_customers",
        "tenant",
    )
    list_filter = ("day",)
    shown_as = {name: money(name) for name in ("revenue", "cancelled_revenue")}
    ordering = ("-day", "currency")


@admin.register(HourlySales)
class HourlySalesAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "schedule"
    list_display = ("hour", "day", "total_orders", money("total_revenue"), "tenant")
    list_filter = ("day",)
    shown_as = {name: money(name) for name in ("revenue", "cancelled_revenue")}
    ordering = ("-day", "-hour", "currency")


@admin.register(ProductSales)
class ProductSalesAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "shopping_bag"
    list_display = (
        "product_id",
        "day",
        "times_ordered",
        "units_sold",
        "units_cancelled",
        money("revenue"),
        money("cancelled_revenue"),
        "tenant",
    )
    list_filter = ("day",)
    search_fields = ("product_id",)
    search_help_text = "A whole product id."
    shown_as = {name: money(name) for name in ("revenue", "cancelled_revenue")}


@admin.register(PlacedOrder)
class PlacedOrderAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "route"
    list_display = ("order_id", "day", "step", "cancel_reason", "customer_id", "tenant")
    search_fields = ("order_id",)
    search_help_text = "A whole order id."

    @admin.display(description="came to")
    def step(self, order: PlacedOrder) -> str:
        return STEPS[order.reached]


@admin.register(Buyer)
class BuyerAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "groups"
    list_display = ("customer_id", "currency", "tenant")
    search_fields = ("customer_id",)
    search_help_text = "A whole customer id."


@admin.register(Cohorts)
class CohortsAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "grid_on"
    list_display = ("currency", "tenant")
    ordering = ("currency",)


@admin.register(ProductName)
class ProductNameAdmin(ReadOnlyAdmin):
    reads = "analytics:read"
    icon = "label"
    list_display = ("product_id", "name", "tenant")
    search_fields = ("product_id", "name__icontains")
    ordering = ("product_id",)
