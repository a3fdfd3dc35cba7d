"""The notifications service."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class NotificationsConfig(ServiceConfig):
    """Tells customers what becomes of their orders."""

    name = "notifications"
    modules = ("handlers", "projections")
    patience = 0.1
