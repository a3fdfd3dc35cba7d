"""The payments service: one charge per order, and its way back."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class PaymentsConfig(ServiceConfig):
    """Start reading at `handlers.process_payment`."""

    name = "payments"
    modules = ("handlers",)
