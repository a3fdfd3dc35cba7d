"""The customers service: who buys, what they ordered, and how they can be reached."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class CustomersConfig(ServiceConfig):
    """Start reading at `projections.order_summary_from_orders`."""

    name = "customers"
    modules = ("handlers", "projections")
