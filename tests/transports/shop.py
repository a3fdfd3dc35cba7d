"""Messages that cross from `inventory` to `analytics`, and what arrived of them."""

from __future__ import annotations

from datetime import UTC, datetime

from ecommerce.messaging.database import connect
from ecommerce.messaging.log import ENVELOPE
from ecommerce.messaging.models import uuid7
from inventory.contracts import ProductCreated
from orders.contracts import OrderCancelled, Totals
from tests.messaging.steps import fetch, write

WANTED = ["inventory.ProductCreated", "orders.OrderCancelled"]
THEN = datetime(2026, 3, 1, tzinfo=UTC)


def product(product_id: str) -> ProductCreated:
    return ProductCreated(
        product_id=product_id, name=product_id.title(), description="", price=1999,
        currency="USD", image_url=None, created_at=THEN,
    )  # fmt: skip


def create(*product_ids: str) -> None:
    """Append the products to inventory's log."""
    write("inventory", *map(product, product_ids))


def arrived(source: str = "inventory") -> list[str]:
    """What analytics' inbox holds from a source, in its order."""
    rows = fetch(
        "analytics",
        'SELECT stream FROM "{inbox}" WHERE source = %b AND name = ANY(%b::text[]) ORDER BY position',
        source,
        WANTED,
    )
    return [stream.partition("/")[2] for (stream,) in rows]


def written(source: str = "inventory") -> list[str]:
    """What the source's log holds of it."""
    query = 'SELECT stream FROM "{log}" WHERE name = ANY(%b::text[]) ORDER BY position'
    return [stream.partition("/")[2] for (stream,) in fetch(source, query, WANTED)]


def reached(source: str = "inventory") -> int:
    """How far analytics' inbox has come."""
    rows = fetch("analytics", 'SELECT position FROM "{relay}" WHERE source = %b', source)
    return int(rows[0][0]) if rows else 0


def confirmed() -> int:
    """How far inventory's side knows it to be."""
    rows = fetch("inventory", "SELECT position FROM \"{relay}\" WHERE source = 'to analytics'")
    return int(rows[0][0]) if rows else 0


def cancelled(order_id: str) -> OrderCancelled:
    totals = Totals(subtotal=0, discount=0, shipping=0, tax=0, total=0, currency="USD")
    return OrderCancelled(
        order_id=order_id, customer_id="c", reason="customer_request", lines=(), totals=totals,
        created_at=THEN, cancelled_at=THEN,
    )  # fmt: skip


def write_unreadable(product_id: str) -> None:
    """Append what a later version of the code might have written of a product."""
    with connect("default") as conn, conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock_shared(messaging_log_key('inventory_log'))")
        columns = ", ".join(name for name in ENVELOPE if name not in {"message_id", "contract"})
        conn.execute(
            f"""INSERT INTO inventory_log (message_id, contract, recorded_at, {columns})
                SELECT %b::uuid, 99, messaging_now(), {columns} FROM inventory_log
                WHERE stream = %b""",
            (uuid7(), f"product/{product_id}"),
        )
