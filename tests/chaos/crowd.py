"""Customers of two shops, who order everything that can go right and wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psycopg
from django.core.management import call_command
from django.db import connections
from psycopg_pool import PoolTimeout

from ecommerce.identity.models import Tenant
from ecommerce.messaging.bus import execute
from ecommerce.messaging.errors import Conflict, Refused
from ecommerce.values import Address
from inventory.contracts import RestockInventory
from inventory.models import Product
from orders.contracts import CancelOrder, CreateOrder, RequestedLine
from tests.journeys.shop import until

TENANTS = ("main", "other")
THREADS = 4
PLENTY = 50_000
MIX = {"good": 50, "declined": 10, "error": 8, "lost answer": 10, "no stock": 5, "cancelled": 12,
       "flaky carrier": 5}  # fmt: skip
"""How many of a hundred orders are of each kind."""
CARDS = {"declined": "card_declined", "error": "card_error", "lost answer": "card_answer_lost"}


@dataclass(frozen=True)
class Purchase:
    """An order, placed and perhaps cancelled at its times, in seconds from the beginning."""

    at: float
    kind: str
    tenant: str
    command: CreateOrder
    cancelled_at: float | None


def open_shops() -> None:
    """Two shops with plenty of everything."""
    Tenant.objects.create(slug=TENANTS[1], name="Other")
    call_command("seed", tenant=TENANTS[1], verbosity=0)
    for tenant, product in Product.objects.values_list("tenant", "product_id"):
        execute(RestockInventory(product_id=product, quantity=PLENTY), tenant=tenant, actor="test")


def plan(count: int, seconds: float, chance: random.Random) -> list[Purchase]:
    """The same seed plans the same orders."""
    products = sorted(set(Product.objects.values_list("product_id", flat=True)))
    kinds = chance.choices(list(MIX), weights=list(MIX.values()), k=count)
    return [
        _purchase(n, kind, seconds * n / count, products, chance) for n, kind in enumerate(kinds)
    ]


def _purchase(
    number: int, kind: str, at: float, products: Sequence[str], chance: random.Random
) -> Purchase:
    chosen = chance.sample(products, k=chance.choice([1, 1, 2, 3]))
    quantities = {product: chance.choice([1, 1, 2, 5]) for product in chosen}
    lines = [RequestedLine(product_id=p, quantity=q) for p, q in quantities.items()]
    if kind == "no stock":
        lines = [RequestedLine(product_id=products[0], quantity=1000) for _ in range(100)]
    city = "Flaky" if kind == "flaky carrier" else "Springfield"
    command = CreateOrder(
        order_id=f"chaos-{number}",
        customer_id=chance.choice(["cust-123", f"guest-{chance.randrange(50)}"]),
        lines=tuple(lines),
        payment_method=CARDS.get(kind, "card_approved"),
        shipping_address=Address("12 Harbor Street", city, "IL", "62701", "US"),
    )
    cancelled_at = at + chance.uniform(0, 2) if kind == "cancelled" else None
    return Purchase(at, kind, chance.choice(TENANTS), command, cancelled_at)


def place_all(purchases: Sequence[Purchase]) -> None:
    """Place and cancel every order at its time; return when all are placed."""
    acts = [(each.at, partial(_place, each)) for each in purchases]
    acts += [
        (each.cancelled_at, partial(_cancel, each))
        for each in purchases
        if each.cancelled_at is not None
    ]
    acts.sort(key=lambda act: act[0])
    begun = time.monotonic()

    def play(part: int) -> None:
        try:
            for at, act in acts[part::THREADS]:
                until(lambda: time.monotonic() - begun >= at, seconds=at + 1)  # noqa: B023
                act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as threads:
        for playing in [threads.submit(play, part) for part in range(THREADS)]:
            playing.result()


def _place(purchase: Purchase) -> None:
    """As a customer's program: what came to nothing is sent again; what exists has come through."""

    def is_placed() -> bool:
        try:
            execute(purchase.command, tenant=purchase.tenant, actor="test")
        except Conflict:
            return True
        except (psycopg.OperationalError, PoolTimeout):
            return False
        return True

    until(is_placed, seconds=60)


def _cancel(purchase: Purchase) -> None:
    """It may come too late, or before the order: all the same."""
    command = CancelOrder(order_id=purchase.command.order_id)
    with suppress(Refused, psycopg.OperationalError, PoolTimeout):
        execute(command, tenant=purchase.tenant, actor="test")
