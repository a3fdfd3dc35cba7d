"""The shipping service."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class ShippingConfig(ServiceConfig):
    """Sends the goods of paid orders, and follows them to the customer."""

    name = "shipping"
    modules = ("handlers",)
