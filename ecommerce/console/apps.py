from __future__ import annotations

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """The operators' tools, which may read every service's `queries`."""

    name = "ecommerce.console"
    label = "console"
    verbose_name = "Operations console"

    def ready(self) -> None:
        """Let workers carry out what operators ask for."""
        from ecommerce.messaging import rebuilder

        from . import auditing

        rebuilder.errand(auditing.look)
