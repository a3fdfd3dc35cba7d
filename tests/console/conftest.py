"""Who calls the console. The shop is closed, as in production."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ecommerce.identity.models import ApiToken, Tenant


@pytest.fixture
def closed_shop(settings: Settings) -> None:
    settings.SHOP_OPEN = False


@pytest.fixture
def with_scopes(transactional_db: None, closed_shop: None) -> Callable[..., Client]:
    """A program of the main shop, or of another one."""

    def make(*scopes: str, tenant: str = "main") -> Client:
        Tenant.objects.get_or_create(slug=tenant, defaults={"name": tenant})
        _, secret = ApiToken.issue(tenant=tenant, name="test", scopes=list(scopes))
        return Client(headers={"authorization": f"Bearer {secret}"})

    return make


@pytest.fixture
def operator(with_scopes: Callable[..., Client]) -> Client:
    return with_scopes("operations")
