"""Inventory in the admin: to read, to restock, and to correct the count."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from ecommerce.messaging.acting import CommandForm
from ecommerce.messaging.backoffice import ReadOnlyAdmin, commands, labelled, money
from ecommerce.messaging.messages import Message

from .contracts import AdjustInventory, RestockInventory
from .models import InventoryLevel, InventorySummary, Product, Reservation, StockItem


class RestockForm(CommandForm):
    quantity = forms.IntegerField(
        min_value=1, help_text="Units that arrived.", widget=UnfoldAdminIntegerFieldWidget
    )


class AdjustForm(CommandForm):
    change = forms.IntegerField(
        help_text="Units more, or fewer with a minus sign.", widget=UnfoldAdminIntegerFieldWidget
    )
    reason = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    reads = "inventory:read"
    icon = "sell"
    list_display = ("product_id", "name", money("price"), "active", "created_at", "tenant")
    list_filter = ("active",)
    search_fields = ("product_id", "name__icontains")
    shown_as = {"price": money("price")}
    ordering = ("product_id",)


@admin.register(StockItem)
class StockItemAdmin(ReadOnlyAdmin):
    reads = "inventory:read"
    icon = "inventory_2"
    list_display = ("product_id", "warehouse", "on_hand", "reserved", "available", "tenant")
    search_fields = ("product_id",)
    search_help_text = "A whole product id."
    ordering = ("product_id",)
    actions = ("restock", "adjust")

    @commands("Restock", scope="inventory:write", form=RestockForm)
    def restock(self, stock: StockItem, quantity: int) -> Message:
        return RestockInventory(product_id=stock.product_id, quantity=quantity)

    @commands("Adjust", scope="inventory:write", form=AdjustForm)
    def adjust(self, stock: StockItem, change: int, reason: str) -> Message:
        return AdjustInventory(product_id=stock.product_id, change=change, reason=reason)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    reads = "inventory:read"
    icon = "bookmark"
    list_display = ("order_id", labelled("status"), "expires_at", "reason", "tenant")
    list_filter = ("status",)
    search_fields = ("order_id",)
    search_help_text = "A whole order id."


@admin.register(InventoryLevel)
class InventoryLevelAdmin(ReadOnlyAdmin):
    reads = "inventory:read"
    icon = "stacked_bar_chart"
    list_display = (
        "product_id",
        "name",
        "quantity",
        "reserved",
        "available",
        "last_updated",
        "tenant",
    )
    search_fields = ("product_id", "name__icontains")
    ordering = ("product_id",)


@admin.register(InventorySummary)
class InventorySummaryAdmin(ReadOnlyAdmin):
    reads = "inventory:read"
    icon = "summarize"
    list_display = (
        "product_id",
        "total_reservations",
        "total_reserved_quantity",
        "total_insufficient_count",
        "last_reservation_at",
        "last_insufficient_at",
        "tenant",
    )
    search_fields = ("product_id",)
    search_help_text = "A whole product id."
    ordering = ("product_id",)
