"""The orders service's copy of the catalogue: what may be ordered, and at which price."""

from __future__ import annotations

from ecommerce.messaging.registry import projects
from inventory.contracts import ProductCreated

from .models import CatalogueItem


@projects
def catalogue(event: ProductCreated, item: CatalogueItem | None) -> CatalogueItem | None:
    """A product can be ordered from now on."""
    created = item is None
    item = item or CatalogueItem(product_id=event.product_id)
    item.name, item.price, item.currency = event.name, event.price, event.currency
    item.active = True
    return item if created else None
