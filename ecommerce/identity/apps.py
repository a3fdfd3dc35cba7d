"""Keeps the default tenant's row in every migrated database, and the tenants' memory fresh."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps.registry import Apps
from django.db import router
from django.db.models.signals import post_delete, post_migrate, post_save

from . import tenants


class IdentityConfig(AppConfig):
    """Who calls: tenants, users and API tokens."""

    name = "ecommerce.identity"
    label = "identity"
    verbose_name = "Identity"

    def ready(self) -> None:
        from .models import Tenant

        post_migrate.connect(make_default_tenant, sender=self)
        post_save.connect(_forget, sender=Tenant)
        post_delete.connect(_forget, sender=Tenant)


def make_default_tenant(
    using: str, apps: Apps | None = None, plan: list[Any] | None = None, **_: Any
) -> None:
    """Make the default tenant, unless it is there. A flush, which has no plan, empties only."""
    if plan is None or apps is None or not router.allow_migrate(using, "identity"):
        return
    try:
        tenant = apps.get_model("identity", "Tenant")
    except LookupError:  # migrated back to before the table
        return
    tenant.objects.using(using).get_or_create(
        slug=tenants.default(),
        defaults={"name": "Main shop", "time_zone": "UTC", "currency": "USD"},
    )


def _forget(**_: Any) -> None:
    tenants.forget()
