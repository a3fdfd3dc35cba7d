from __future__ import annotations

from django.apps import AppConfig


class Miswired(AppConfig):
    name = "tests.miswired"

    def ready(self) -> None:
        from . import handlers  # noqa: F401
