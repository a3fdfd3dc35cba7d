"""Callers of every kind. The shop is closed, as in production, unless a test opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ecommerce.identity import tenants
from ecommerce.identity.models import ApiToken, Tenant


@pytest.fixture(autouse=True)
def _closed(settings: Settings) -> Iterator[None]:
    settings.SHOP_OPEN = False
    tenants.forget()
    yield
    tenants.forget()


@pytest.fixture
def open_shop(settings: Settings) -> None:
    settings.SHOP_OPEN = True


@pytest.fixture
def tenant(db: None) -> Tenant:
    return Tenant.objects.get_or_create(slug="main", defaults={"name": "Main shop"})[0]


@pytest.fixture
def other_tenant(db: None) -> Tenant:
    return Tenant.objects.create(slug="other", name="Other shop")


@pytest.fixture
def with_token(tenant: Tenant) -> Callable[..., Client]:
    """A client that sends a token with these scopes."""

    def make(*scopes: str, **options: Any) -> Client:
        _, secret = ApiToken.issue(
            **{"tenant": "main", "name": "test", "scopes": list(scopes), **options}
        )
        return Client(headers={"authorization": f"Bearer {secret}"})

    return make
