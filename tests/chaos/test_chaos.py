"""Workers of every kind are killed and frozen at random while two shops take orders.

Nothing but chance decides what is struck when, so what is asked afterwards is what always holds.
CHAOS_SEED repeats a run's orders and strokes, as far as a machine can; CHAOS_SECONDS says for how
long the long one goes on.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections

from ecommerce.messaging.database import connect
from ecommerce.messaging.services import services
from ecommerce.messaging.worker import Worker
from orders.models import Order
from tests.chaos.crowd import Purchase, open_shops, place_all, plan
from tests.chaos.storm import Storm, crew
from tests.crashes.conftest import Platform
from tests.journeys import audit
from tests.journeys.shop import until
from tests.transports.brokers import Valkey

LONG = float(os.environ.get("CHAOS_SECONDS") or 120)
ENDED = ("Shipped", "Delivered", "Cancelled")
CALM_SECONDS = 300.0
"""Within which everything must have ended once nobody is struck any more. Where one holder after the
other died, the next runs message by message for a while, so this is not done at once."""

ORDER_BROKEN = """
    SELECT d.handler, d.stream, d.before, d.position FROM (
        SELECT d.handler, l.stream, l.position,
               lag(l.position) OVER (PARTITION BY d.handler, l.tenant, l.stream ORDER BY d.id) AS before
        FROM "{delivery}" d JOIN "{log}" l USING (message_id) WHERE d.outcome = 'done') d
    WHERE d.before > d.position"""
TWICE = {
    "charges": """SELECT stream FROM payments_log WHERE name = 'payments.PaymentProcessed'
                  GROUP BY tenant, stream HAVING count(*) > 1""",
    "labels": "SELECT reference FROM shipping_simulatedlabel GROUP BY reference HAVING count(*) > 1",
    "shipments": """SELECT stream FROM shipping_log WHERE name = 'shipping.ShipmentCreated'
                    GROUP BY tenant, stream HAVING count(*) > 1""",
    "mails": """SELECT stream FROM notifications_log WHERE name = 'notifications.NotificationSent'
                GROUP BY tenant, stream HAVING count(*) > 1""",
}


def questions(sql: str) -> list[tuple[object, ...]]:
    with connect("default") as conn:
        return conn.execute(sql).fetchall()


def out_of_order() -> list[tuple[object, ...]]:
    """Deliveries of a stream to a handler that came before those of earlier messages."""
    found = []
    for reader in services():
        delivery = reader.tables.delivery._meta.db_table
        for source in services():
            log = source.tables.log._meta.db_table
            found += questions(ORDER_BROKEN.format(delivery=delivery, log=log))
    return found


def unfinished() -> list[tuple[object, ...]]:
    """Orders that have not ended, and parcels that are still asked for."""
    orders = Order.objects.exclude(status__in=ENDED).values_list("order_id", "status")
    return [*orders, *questions("SELECT stream, handler FROM shipping_effect")]


def standstill() -> dict[str, list[tuple[object, ...]]]:
    """What waits or was given up, by table."""
    columns = {
        "parked": "handler, stream, attempts, due_at - messaging_now(), error",
        "dead": "handler, stream, reason, error",
        "effect": "handler, stream, attempts, claims, due_at - messaging_now()",
        "partition": "count(*), owner, min(takeovers), max(suspect_attempts), max(expires_at)",
    }
    found = {
        f"{config.label}_{kind}": questions(
            f'SELECT {wanted} FROM "{config.label}_{kind}" '
            + ("GROUP BY owner" if kind == "partition" else "LIMIT 20")
        )
        for config in services()
        for kind, wanted in columns.items()
    }
    return {table: rows for table, rows in found.items() if rows}


def assert_ends_fit(purchases: list[Purchase]) -> None:
    ends = dict(Order.objects.values_list("order_id", "status"))
    assert ends.keys() == {purchase.command.order_id for purchase in purchases}
    for kind in ("declined", "no stock"):
        each = {ends[p.command.order_id] for p in purchases if p.kind == kind}
        assert each <= {"Cancelled"}, kind
    fulfilled = [status for status in ends.values() if status != "Cancelled"]
    assert len(fulfilled) > len(purchases) / 2


def weather(
    platform: Platform, broker: Valkey, directory: Path, orders: int, seconds: float
) -> None:
    """Orders and strokes for so long; then calm, and questions."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"CHAOS_SEED={seed}")
    broker.start()
    open_shops()
    audit.settle()
    members = crew(platform, broker.url, directory)
    for member in members:
        member.start()
    until(lambda: len(alive()) >= 3, seconds=60)
    purchases = plan(orders, 0.8 * seconds, random.Random(f"orders {seed}"))
    storm = Storm(members, random.Random(f"storm {seed}"))
    with ThreadPoolExecutor(1) as beside:
        placing = beside.submit(place_all, purchases)
        storm.rage(seconds)
        placing.result()
    print(*storm.strokes, sep="\n")

    try:
        until(
            lambda: not any([*(each.tend() for each in members), *unfinished()]),
            seconds=CALM_SECONDS,
        )
    except AssertionError:
        raise AssertionError(
            f"{len(unfinished())} not at their end: {unfinished()[:20]}; {standstill()}"
        ) from None
    platform.stop_programs()
    until(lambda: Worker().drain(CALM_SECONDS) == 0, seconds=CALM_SECONDS)  # read models follow
    platform.audit()
    call_command("audit", "--rebuild")
    assert_ends_fit(purchases)
    assert out_of_order() == []
    assert [what for what, sql in TWICE.items() if questions(sql)] == []
    assert questions("SELECT count(*) FROM notifications_mail") == questions(
        "SELECT count(*) FROM notifications_notification WHERE status = 'Sent'"
    )
    connections.close_all()


def alive() -> list[tuple[object, ...]]:
    """The workers that are heard of now."""
    return questions(
        "SELECT name FROM orders_worker WHERE NOT signed_off "
        "AND heartbeat_at > messaging_now() - interval '10 s'"
    )


@pytest.mark.timeout(300)
def test_a_short_storm(platform: Platform, valkey: Valkey, tmp_path: Path) -> None:
    weather(platform, valkey, tmp_path, orders=200, seconds=15)


@pytest.mark.chaos
@pytest.mark.timeout(900 + 3 * int(LONG))
def test_a_long_storm(platform: Platform, valkey: Valkey, tmp_path: Path) -> None:
    weather(platform, valkey, tmp_path, orders=2000, seconds=LONG)
