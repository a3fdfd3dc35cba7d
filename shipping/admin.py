"""Shipments in the admin, to read: they change by what the carrier says."""

from __future__ import annotations

from django.contrib import admin

from ecommerce.messaging.backoffice import ReadOnlyAdmin, labelled, money

from .models import Shipment, SimulatedFault, SimulatedLabel, SimulatedTrouble


@admin.register(Shipment)
class ShipmentAdmin(ReadOnlyAdmin):
    reads = "orders:read"
    icon = "local_shipping"
    list_display = (
        "order_id",
        labelled("status"),
        "carrier",
        "tracking_number",
        "service_level",
        "estimated_delivery",
        "delivered_at",
        "tenant",
    )
    list_filter = ("status",)
    search_fields = ("order_id", "tracking_number")
    search_help_text = "A whole order id or tracking number."
    shown_as = {"cost": money("cost")}


@admin.register(SimulatedLabel)
class SimulatedLabelAdmin(ReadOnlyAdmin):
    """What the simulated carrier has sold, to all tenants."""

    icon = "science"
    list_display = ("tracking_number", "reference", "service_level", money("cost"), "shipped_at")
    search_fields = ("tracking_number",)
    search_help_text = "A whole tracking number."
    shown_as = {"cost": money("cost")}


@admin.register(SimulatedFault)
class SimulatedFaultAdmin(ReadOnlyAdmin):
    icon = "bug_report"
    list_display = ("key", "times")
    search_fields = ("key",)


@admin.register(SimulatedTrouble)
class SimulatedTroubleAdmin(ReadOnlyAdmin):
    icon = "bolt"
    list_display = ("kind", "until", "calls", "seconds")
    ordering = ("kind",)
