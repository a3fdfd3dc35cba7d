"""`manage.py seed`: the demo catalogue and one demo customer, so that a new shop is not empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from customers.contracts import SaveContact
from ecommerce.messaging.bus import execute
from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.worker import Worker
from inventory.contracts import CreateProduct
from inventory.models import Product

CATALOGUE = Path(__file__).resolve().parents[2] / "catalogue.json"
ACTOR = "seed"
DELIVERY_SECONDS = 10.0


class Catalogue(msgspec.Struct, frozen=True):
    """What `catalogue.json` holds."""

    products: tuple[CreateProduct, ...]
    customer: SaveContact


class Command(BaseCommand):
    help = "Add the demo products that do not exist yet, and a demo customer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tenant", default=settings.DEFAULT_TENANT, help="the shop to add them to"
        )

    def handle(self, *args: Any, tenant: str, **options: Any) -> None:
        catalogue = msgspec.json.decode(CATALOGUE.read_bytes(), type=Catalogue)
        known = set(Product.objects.filter(tenant=tenant).values_list("product_id", flat=True))
        missing = [product for product in catalogue.products if product.product_id not in known]
        if not missing:
            return
        # The customer comes first: the last product then stands for a complete seed.
        execute(catalogue.customer, tenant=tenant, actor=ACTOR)
        created = sum(_create(product, tenant) for product in missing)
        # What others must know of them, they learn now, whether or not a worker runs.
        Worker().drain(DELIVERY_SECONDS)
        self.stdout.write(f"Added {created} demo products to {tenant}.")


def _create(product: CreateProduct, tenant: str) -> bool:
    try:
        execute(product, tenant=tenant, actor=ACTOR)
    except Conflict:  # another seed was faster
        return False
    return True
