from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class PaymentsConfig(ServiceConfig):
    name = "payments"
    modules = ("handlers",)
