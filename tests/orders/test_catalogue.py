"""The orders service's copy of the catalogue."""

from __future__ import annotations

from inventory.contracts import ProductCreated
from orders.models import CatalogueItem
from orders.projections import catalogue
from tests.orders.examples import NOW, state

CREATED = ProductCreated(
    product_id="prod-456",
    name="Mouse",
    description="Moves a pointer.",
    price=1999,
    currency="USD",
    image_url=None,
    created_at=NOW,
)


def test_a_new_product_can_be_ordered() -> None:
    item = catalogue(CREATED, None)

    assert item is not None
    assert state(item) == state(
        CatalogueItem(product_id="prod-456", name="Mouse", price=1999, currency="USD", active=True)
    )


def test_a_product_that_is_created_again_is_replaced() -> None:
    item = CatalogueItem(product_id="prod-456", name="Old", price=1, currency="EUR", active=False)

    assert catalogue(CREATED, item) is None

    assert state(item) == state(
        CatalogueItem(product_id="prod-456", name="Mouse", price=1999, currency="USD", active=True)
    )
