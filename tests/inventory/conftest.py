"""A shop whose commands really run: on the bus, committed, delivered by a worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from ecommerce.messaging.bus import execute
from ecommerce.messaging.worker import Worker
from inventory.contracts import CreateProduct
from inventory.queries import INVARIANTS

Broken = dict[str, list[tuple[object, ...]]]


@pytest.fixture
def create(transactional_db: None) -> Callable[..., None]:
    """Create products: `create(scarf=10)`, for another shop with `tenant=`."""

    def create_products(tenant: str = "main", **stock: int) -> None:
        for product_id, units in stock.items():
            command = CreateProduct(
                product_id=product_id,
                name=product_id.title(),
                description="",
                price=1999,
                currency="USD",
                initial_stock=units,
            )
            execute(command, tenant=tenant, actor="test")

    return create_products


@pytest.fixture
def deliver(transactional_db: None) -> Callable[[], None]:
    """Let a worker do everything that is left to do in inventory."""

    def work() -> None:
        Worker(["inventory"]).drain(10)

    return work


@pytest.fixture
def broken() -> Callable[[], Broken]:
    """The invariants that do not hold, with the rows that break them."""

    def audit() -> Broken:
        found = {}
        with connection.cursor() as cursor:
            for name, sql in INVARIANTS:
                cursor.execute(sql)
                if rows := cursor.fetchall():
                    found[name] = rows
        return found

    return audit
