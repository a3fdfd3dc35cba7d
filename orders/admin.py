"""Orders in the admin: to read, and to cancel."""

from __future__ import annotations

from django.contrib import admin

from ecommerce.messaging.backoffice import ReadOnlyAdmin, commands, dropdown, labelled, money
from ecommerce.messaging.messages import Message

from .contracts import CancelOrder
from .models import STATUSES, CatalogueItem, Fulfilment, Order

STEPS = ("reserving", "paying", "cancelling", "shipping", "done", "closed")


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    reads = "orders:read"
    icon = "receipt_long"
    list_display = (
        "order_id",
        labelled("status"),
        money("total"),
        "customer_id",
        "created_at",
        "tenant",
    )
    list_filter = (dropdown("status", STATUSES), "created_at")
    search_fields = ("order_id",)
    search_help_text = "A whole order id."
    shown_as = {name: money(name) for name in ("subtotal", "discount", "shipping", "tax", "total")}
    actions = ("cancel",)

    @commands("Cancel order", scope="orders:write")
    def cancel(self, order: Order) -> Message:
        return CancelOrder(order_id=order.order_id)


@admin.register(Fulfilment)
class FulfilmentAdmin(ReadOnlyAdmin):
    """The saga of each order; `attention` says why an operator must look."""

    reads = "orders:read"
    icon = "conversion_path"
    list_display = ("order_id", "step", "deadline_at", "cancel_reason", "attention", "tenant")
    list_filter = (dropdown("step", STEPS), ("attention", admin.EmptyFieldListFilter))
    search_fields = ("order_id",)
    search_help_text = "A whole order id."


@admin.register(CatalogueItem)
class CatalogueItemAdmin(ReadOnlyAdmin):
    reads = "orders:read"
    icon = "sell"
    list_display = ("product_id", "name", money("price"), "active", "tenant")
    list_filter = ("active",)
    search_fields = ("product_id", "name__icontains")
    shown_as = {"price": money("price")}
    ordering = ("product_id",)
