"""The orders service: taking orders and seeing them through."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class OrdersConfig(ServiceConfig):
    """Start reading at `handlers.create_order`, then `saga`."""

    name = "orders"
    modules = ("handlers", "saga", "projections")
