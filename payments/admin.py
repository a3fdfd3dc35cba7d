"""Payments in the admin, to read: they change by commands and by what the gateway says."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from .models import Payment, SimulatedCharge


class ReadOnlyAdmin(ModelAdmin):
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = ("order_id", "status", "amount", "currency", "method", "code", "processed_at")
    list_filter = ("status", "currency", "tenant")
    search_fields = ("order_id", "payment_id", "customer_id", "transaction_id", "refund_id")
    ordering = ("-id",)


@admin.register(SimulatedCharge)
class SimulatedChargeAdmin(ReadOnlyAdmin):
    list_display = ("key", "state", "amount", "currency", "method", "calls", "transaction_id")
    list_filter = ("state", "method")
    search_fields = ("key", "transaction_id", "refund_id")
    ordering = ("key",)
