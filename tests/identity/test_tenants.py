"""A tenant's day, and how long a process believes what it has read."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ecommerce.identity import tenants
from ecommerce.identity.apps import make_default_tenant
from ecommerce.identity.models import Tenant

pytestmark = pytest.mark.django_db
LATE = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


def test_the_business_day_is_the_tenants() -> None:
    Tenant.objects.create(slug="tokyo", name="Tokyo", time_zone="Asia/Tokyo")
    Tenant.objects.create(slug="lima", name="Lima", time_zone="America/Lima")

    assert tenants.local_time(LATE, "tokyo").date() == date(2026, 3, 2)
    assert tenants.local_time(LATE, "lima").date() == date(2026, 3, 1)
    assert tenants.local_time(LATE, "tokyo") == LATE


def test_the_offset_follows_daylight_saving() -> None:
    Tenant.objects.create(slug="berlin", name="Berlin", time_zone="Europe/Berlin")
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)

    assert tenants.local_time(winter, "berlin").isoformat() == "2026-01-01T01:00:00+01:00"
    assert tenants.local_time(summer, "berlin").isoformat() == "2026-07-01T02:00:00+02:00"


def test_an_unknown_tenants_day_is_utc() -> None:
    assert tenants.local_time(LATE, "nobody").isoformat() == "2026-03-01T23:30:00+00:00"
    assert tenants.currency_of("nobody") == "USD"
    assert not tenants.is_active("nobody")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        tenants.local_time(datetime(2026, 1, 1), "main")  # noqa: DTZ001


def test_asking_again_costs_no_query() -> None:
    tenants.local_time(LATE, "main")

    with CaptureQueriesContext(connection) as queries:
        tenants.local_time(LATE, "main")
        tenants.local_time(LATE, "nobody")

    assert len(queries) == 0


def test_a_change_made_here_is_seen_at_once(tenant: Tenant) -> None:
    assert tenants.is_active("main")
    tenant.active = False
    tenant.save()

    assert not tenants.is_active("main")


def test_a_migration_makes_the_default_tenant_once() -> None:
    Tenant.objects.filter(slug="main").delete()
    for _ in range(2):
        make_default_tenant(using="default", apps=apps, plan=[])

    assert Tenant.objects.filter(slug="main").count() == 1


def test_a_flush_makes_nothing() -> None:
    Tenant.objects.all().delete()
    make_default_tenant(using="default", apps=apps)

    assert not Tenant.objects.exists()


@pytest.mark.parametrize("slug", ["Main", "a b", "-a", "a--b", "", "ä", "a/b"])
def test_a_slug_is_safe_in_keys_and_addresses(slug: str) -> None:
    with pytest.raises(ValidationError):
        Tenant(slug=slug, name="x").full_clean()


def test_a_time_zone_must_exist() -> None:
    with pytest.raises(ValidationError, match="time zone"):
        Tenant(slug="x", name="x", time_zone="Mars/Olympus").full_clean()
