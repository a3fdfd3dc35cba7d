"""Inventory in the admin, to read: it changes by commands only."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from .models import InventoryLevel, InventorySummary, Product, Reservation, StockItem


class ReadOnlyAdmin(ModelAdmin):
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    list_display = ("product_id", "name", "price", "currency", "active", "created_at", "tenant")
    list_filter = ("active", "tenant")
    search_fields = ("product_id", "name")
    ordering = ("product_id",)


@admin.register(StockItem)
class StockItemAdmin(ReadOnlyAdmin):
    list_display = ("product_id", "warehouse", "on_hand", "reserved", "available", "tenant")
    list_filter = ("warehouse", "tenant")
    search_fields = ("product_id",)
    ordering = ("product_id",)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("order_id", "status", "expires_at", "reason", "tenant")
    list_filter = ("status", "tenant")
    search_fields = ("order_id",)
    ordering = ("-id",)


@admin.register(InventoryLevel)
class InventoryLevelAdmin(ReadOnlyAdmin):
    list_display = ("product_id", "name", "quantity", "reserved", "available", "last_updated")
    list_filter = ("tenant",)
    search_fields = ("product_id", "name")
    ordering = ("product_id",)


@admin.register(InventorySummary)
class InventorySummaryAdmin(ReadOnlyAdmin):
    list_display = (
        "product_id",
        "total_reservations",
        "total_reserved_quantity",
        "total_insufficient_count",
        "last_reservation_at",
        "last_insufficient_at",
    )
    list_filter = ("tenant",)
    search_fields = ("product_id",)
    ordering = ("product_id",)
