"""A shop whose days begin before those of UTC, and figures of what it heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from ecommerce.identity import tenants
from ecommerce.identity.models import ApiToken, Tenant
from ecommerce.messaging.messages import Message
from tests.analytics.examples import project

Hear = Callable[..., None]


@pytest.fixture
def in_kolkata(db: None) -> Iterator[None]:
    Tenant.objects.filter(slug="main").update(time_zone="Asia/Kolkata")
    tenants.forget()
    yield
    tenants.forget()


@pytest.fixture
def heard(db: None) -> Hear:
    """Have the service hear these events, all at once, and store what it makes of them."""

    def hear(*events: Message, tenant: str = "main") -> None:
        for row in project(events, tenant):
            row.save()

    return hear


@pytest.fixture
def client_with(db: None) -> Callable[..., Client]:
    """A program with these scopes."""

    def make(*scopes: str, tenant: str = "main") -> Client:
        _, secret = ApiToken.issue(tenant=tenant, name="test", scopes=list(scopes))
        return Client(headers={"authorization": f"Bearer {secret}"})

    return make


@pytest.fixture
def analyst(client_with: Callable[..., Client]) -> Client:
    return client_with("analytics:read")
