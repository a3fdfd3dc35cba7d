"""The analytics service: what was sold, by day, hour and product."""

from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class AnalyticsConfig(ServiceConfig):
    """Start reading at `projections.sales`."""

    name = "analytics"
    modules = ("projections",)
    patience = 0.1
