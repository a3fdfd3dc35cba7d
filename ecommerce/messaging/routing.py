"""Which database a model lives in: each service's tables in its own, all others in `default`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Model


class ServiceRouter:
    """Django's database router over `settings.SERVICE_DATABASES`.

    The kernel's functions are migrated into every database that holds a service.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return settings.SERVICE_DATABASES.get(model._meta.app_label, "default")

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return self.db_for_read(type(one)) == self.db_for_read(type(other))

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        if app_label == "messaging":
            return db == "default" or db in settings.SERVICE_DATABASES.values()
        return db == settings.SERVICE_DATABASES.get(app_label, "default")
