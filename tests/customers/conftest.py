"""Callers of the shop, and orders that have been projected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from ecommerce.identity import tenants
from ecommerce.identity.models import ApiToken
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate
from ecommerce.messaging.registry import handlers_of
from tests.projecting import context, project


@pytest.fixture(autouse=True)
def _forget_tenants() -> Iterator[None]:
    tenants.forget()
    yield
    tenants.forget()


@pytest.fixture
def signed_in(db: None) -> Callable[..., Client]:
    """A client that sends a token with these scopes; `customer_id` binds it to one customer."""

    def make(*scopes: str, customer_id: str = "", tenant: str = "main") -> Client:
        _, secret = ApiToken.issue(
            tenant=tenant, name="test", scopes=list(scopes), customer_id=customer_id
        )
        return Client(headers={"authorization": f"Bearer {secret}"})

    return make


@pytest.fixture
def heard(db: None) -> Callable[..., None]:
    """Have the service hear these events, and store what it makes of them."""

    def hear(*events: Message, tenant: str = "main") -> None:
        known: dict[Any, Aggregate] = {}
        for event in events:
            for handler in handlers_of(type(event), "customers"):
                if handler.kind == "handles":
                    customer = known.get(event.customer_id)  # type: ignore[attr-defined]
                    for row in handler.function(event, customer, context()):  # type: ignore[union-attr]
                        if isinstance(row, Aggregate):
                            known[event.customer_id] = row  # type: ignore[attr-defined]
        for row in [*known.values(), *project("customers", [(e, context()) for e in events])]:
            row.tenant = tenant
            row.save()

    return hear
