"""Customers and their orders in the admin, to read."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from ecommerce.messaging.backoffice import ReadOnlyAdmin, dropdown, labelled, money
from ecommerce.values import Money

from .models import Cart, Customer, CustomerActivity, OrderSummary, Product

ORDER_STATUSES = (
    "Pending",
    "Reserved",
    "Paid",
    "Shipped",
    "Delivered",
    "Cancelling",
    "Cancelled",
)


@admin.register(OrderSummary)
class OrderSummaryAdmin(ReadOnlyAdmin):
    reads = "orders:read"
    icon = "receipt"
    list_display = (
        "order_id",
        labelled("status"),
        labelled("payment_status", "payment"),
        labelled("shipment_status", "shipment"),
        money("total"),
        "customer_id",
        "created_at",
        "tenant",
    )
    list_filter = (dropdown("status", ORDER_STATUSES), "created_at")
    search_fields = ("order_id", "customer_id")
    search_help_text = "A whole order id or customer id."
    shown_as = {name: money(name) for name in ("subtotal", "discount", "shipping", "tax", "total")}


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    reads = "inventory:read"
    icon = "storefront"
    list_display = ("product_id", "name", "category", money("price"), "available", "tenant")
    search_fields = ("product_id", "name__icontains")
    search_help_text = "A whole product id, or words of a name."
    shown_as: ClassVar = {"price": money("price")}


@admin.register(Cart)
class CartAdmin(ReadOnlyAdmin):
    reads = "customers:read"
    icon = "shopping_cart"
    list_display = ("cart_id", "lines", "tenant")
    search_fields = ("cart_id",)
    search_help_text = "A whole cart id."


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    reads = "customers:read"
    icon = "person"
    list_display = ("customer_id", "name", "email", "guest", "registered_at", "tenant")
    list_filter = ("guest", "registered_at")
    search_fields = ("customer_id",)
    search_help_text = "A whole customer id."


@admin.register(CustomerActivity)
class CustomerActivityAdmin(ReadOnlyAdmin):
    reads = "customers:read"
    icon = "trending_up"
    list_display = (
        "customer_id",
        "total_orders",
        "total_spent",
        "first_order_at",
        "last_order_at",
        "tenant",
    )
    search_fields = ("customer_id",)
    search_help_text = "A whole customer id."

    @admin.display(description="total spent")
    def total_spent(self, activity: CustomerActivity) -> str:
        return str(Money(activity.total_spent, activity.currency))
