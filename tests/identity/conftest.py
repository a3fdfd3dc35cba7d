"""A tenant, and a memory of tenants that forgets between tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecommerce.identity import tenants
from ecommerce.identity.models import Tenant


@pytest.fixture(autouse=True)
def _fresh_memory() -> Iterator[None]:
    tenants.forget()
    yield
    tenants.forget()


@pytest.fixture
def tenant(db: None) -> Tenant:
    return Tenant.objects.get_or_create(slug="main", defaults={"name": "Main shop"})[0]


@pytest.fixture
def other(db: None) -> Tenant:
    return Tenant.objects.create(slug="other", name="Other shop")
