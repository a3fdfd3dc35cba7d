"""The inventory service: what there is to sell, how much of it, and what orders hold."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class InventoryConfig(ServiceConfig):
    """Start reading at `handlers.reserve_inventory`."""

    name = "inventory"
    modules = ("handlers", "projections")
