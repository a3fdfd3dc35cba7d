from __future__ import annotations

from ecommerce.messaging.services import ServiceConfig


class FiveStepsConfig(ServiceConfig):
    """Start reading at `handlers`."""

    name = "fivesteps"
