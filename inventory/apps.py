from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class InventoryConfig(ServiceConfig):
    name = "inventory"
    modules = ("handlers", "projections")
