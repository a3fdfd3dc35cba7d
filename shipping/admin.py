"""Shipments in the admin, to read: they change by what the carrier says."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from .models import Shipment, SimulatedFault, SimulatedLabel


class ReadOnlyAdmin(ModelAdmin):
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Shipment)
class ShipmentAdmin(ReadOnlyAdmin):
    list_display = (
        "order_id",
        "status",
        "carrier",
        "tracking_number",
        "service_level",
        "estimated_delivery",
        "delivered_at",
    )
    list_filter = ("status", "carrier", "service_level", "tenant")
    search_fields = ("order_id", "shipment_id", "tracking_number", "customer_id")
    ordering = ("-id",)


@admin.register(SimulatedLabel)
class SimulatedLabelAdmin(ReadOnlyAdmin):
    list_display = ("tracking_number", "reference", "service_level", "shipped_at")
    list_filter = ("service_level",)
    search_fields = ("tracking_number", "reference")
    ordering = ("-id",)


@admin.register(SimulatedFault)
class SimulatedFaultAdmin(ReadOnlyAdmin):
    list_display = ("key", "times")
    search_fields = ("key",)
    ordering = ("-id",)
