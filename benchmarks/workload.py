"""What is bought: a fixed mix of orders, the shop they are placed in, and when they are through."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from analytics.models import DailySales, HourlySales, ProductSales
from customers.contracts import SaveContact
from customers.models import OrderSummary
from ecommerce.audit import audit
from ecommerce.messaging.bus import execute
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.services import service, services
from ecommerce.messaging.subscriptions import readable, subscribed_names
from ecommerce.messaging.worker import Worker
from ecommerce.values import Address
from inventory.contracts import RestockInventory
from inventory.models import Product
from notifications.models import Notification
from orders.contracts import CreateOrder, RequestedLine

from .options import Failed

TENANT = "main"
SEED = 20_240_229
CUSTOMERS = 200
UNITS = 1_000_000
NEVER = datetime(2100, 1, 1, tzinfo=UTC)
"""When schedules are due again: what they send would not be the same in all runs."""
MESSAGES = 3
"""Notifications that are sent for an order."""


@dataclass(frozen=True)
class Mix:
    """Orders to be placed, and how many different products they ask for in all."""

    orders: Sequence[CreateOrder]
    products: int


def open_shop() -> None:
    """Tables, catalogue, ample stock and customers with contacts; all delivered."""
    call_command("migrate", verbosity=0)
    call_command("seed", verbosity=0)
    restock([TENANT])
    for number in range(CUSTOMERS):
        contact = SaveContact(
            customer_id=_customer(number),
            name=f"Customer {number}",
            email=f"customer-{number}@example.test",
            phone=f"+1-555-{number:04}",
            address=address(number),
        )
        execute(contact, tenant=TENANT, actor="benchmark")
    Worker().drain(60.0)
    for each in services():
        each.tables.schedule._default_manager.update(due_at=NEVER)


def restock(tenants: Sequence[str]) -> None:
    """Give these shops more of every product than will be bought, and deliver it."""
    products = Product.objects.filter(tenant__in=tenants)
    for tenant, product_id in products.values_list("tenant", "product_id"):
        command = RestockInventory(product_id=product_id, quantity=UNITS)
        execute(command, tenant=tenant, actor="benchmark")
    Worker().drain(60.0)


def mix(
    count: int, seed: int = SEED, *, products: int = 12, customers: int = CUSTOMERS, lines: int = 3
) -> Mix:
    """Orders of one to so many products, one to three units each; the same ones every time."""
    choice = random.Random(seed)
    sold = _products()[:products]
    orders = []
    for _ in range(count):
        customer = choice.randrange(customers)
        chosen = choice.sample(sold, choice.randint(1, lines))
        orders.append(
            CreateOrder(
                order_id=str(uuid7()),
                customer_id=_customer(customer),
                lines=tuple(RequestedLine(product, choice.randint(1, 3)) for product in chosen),
                shipping_address=address(customer),
            )
        )
    return Mix(orders, sum(len(order.lines) for order in orders))


def place(orders: Sequence[CreateOrder]) -> float:
    """Place orders one after another; return how many a second."""
    started = time.perf_counter()
    for order in orders:
        execute(order, tenant=TENANT, actor=order.customer_id)
    return len(orders) / (time.perf_counter() - started)


def told() -> int:
    """How many notifications were sent: a quick way to see how far a run is."""
    return Notification.objects.filter(tenant=TENANT, status="Sent").count()


def missing(expected: Mix) -> Iterator[str]:
    """What is still to be done until every order has been shipped, told of and counted; what costs
    the database least to find out comes first."""
    count = len(expected.orders)
    shipped = OrderSummary.objects.filter(status="Shipped", shipment_status="Created")
    questions: dict[str, tuple[Callable[[], int], int]] = {
        "orders in daily sales": (partial(_sum, DailySales, "orders"), count),
        "orders in hourly sales": (partial(_sum, HourlySales, "orders"), count),
        "orders in product sales": (
            partial(_sum, ProductSales, "times_ordered"),
            expected.products,
        ),
        "orders shipped": (shipped.count, count),
        "notifications sent": (told, count * MESSAGES),
        "shipments to be tracked": (_to_track, count),
    }
    for name, (found, due) in questions.items():
        if (number := found()) != due:
            yield f"{name}: {number} of {due}"
    yield from undone()


def undone() -> Iterator[str]:
    """Work that is left, whatever it is about: all but the questions to the carrier."""
    for name, found in (("effects", _soon), ("unread messages", _unread)):
        if number := found():
            yield f"{name}: {number}"
    for each in services():
        for kind in ("parked", "dead", "timer", "inbox"):
            if number := getattr(each.tables, kind)._default_manager.count():
                yield f"{each.label} {kind}: {number}"


def check(but: str = "") -> None:
    """Ask the platform's own audit, but for one check. Raises Failed with what it found."""
    findings = audit(patience=0.0)
    broken = [each for each in findings if not each.ok and f"{each.area}: {each.name}" != but]
    if broken:
        lines = [f"{each.area}: {each.name}: {each.shown}" for each in broken]
        raise Failed("\n".join(["The audit found:", *lines]))


def _products() -> list[str]:
    products = Product.objects.filter(tenant=TENANT).order_by("product_id")
    return list(products.values_list("product_id", flat=True))


def _customer(number: int) -> str:
    return f"customer-{number:03}"


def address(number: int) -> Address:
    """Where somebody lives."""
    return Address(f"{number} Harbor Street", "Springfield", "IL", "62701", "US")


def _sum(model: type[DailySales | HourlySales | ProductSales], column: str) -> int:
    return sum(model.objects.filter(tenant=TENANT).values_list(column, flat=True))


def _to_track() -> int:
    effects = service("shipping").tables.effect._default_manager
    return int(effects.filter(name="shipping.TrackShipment").count())


def _soon() -> int:
    """Effects that are due or claimed, but for questions to the carrier; those that are due later are
    as many as there are orders, and counting them all would be a scan."""
    tables = [each.tables.effect._meta.db_table for each in services()]
    counts = (
        f"""(SELECT count(*) FROM generate_series(0, %s - 1) AS own(number), LATERAL (
                SELECT FROM {table}
                WHERE partition = own.number AND due_at < messaging_now() + interval '1 minute'
                  AND name <> 'shipping.TrackShipment') AS soon)"""
        for table in tables
    )
    partitions = [settings.MESSAGING_PARTITIONS] * len(tables)
    return _number(f"SELECT {' + '.join(counts)}", partitions)


def _unread() -> int:
    """Messages behind the position of some service that they concern."""
    unread = 0
    for target in services():
        for source, log in readable(target).items():
            partitions = target.tables.partition._meta.db_table
            position = "coalesce((positions->>%s)::bigint, 0)"
            behind = _number(f"SELECT min({position}) FROM {partitions}", [source])
            unread += _number(
                f"""SELECT count(*) FROM {log} l JOIN {partitions} ON number = l.partition
                    WHERE l.position > %s AND l.position > {position} AND l.name = ANY(%s)""",
                [behind, source, subscribed_names(target.label, source)],
            )
    return unread


def _number(sql: str, values: Sequence[str | int | list[str]] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        (number,) = cursor.fetchone()
    return int(number)
