"""A shop that has existed for long: many orders made of a few real ones.

The rows of orders that the platform has carried out are written again and again with other ids: in
every uuid and every text, the four hex digits that all UUIDv7 of some weeks begin with become the
number of the copy. So copies belong together as the originals do, stand in the order of time, and are older than these.
What orders share (stock, customers, figures) is not multiplied; nor are the product streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg

from ecommerce.messaging.services import services
from ecommerce.messaging.subscriptions import readable

from .server import Server

ORDER_TABLES = (
    "orders_order", "orders_fulfilment", "inventory_reservation", "payments_payment",
    "payments_simulatedcharge", "shipping_shipment", "shipping_simulatedlabel",
    "notifications_notification", "notifications_mail", "customers_ordersummary",
    "analytics_placedorder",
)  # fmt: skip
OF_ORDERS = "WHERE stream NOT LIKE 'product/%' AND stream NOT LIKE 'canary/%'"
MOST_COPIES = 0x0180
"""Copies beyond this number would have ids of the future."""
WRITERS = 2

Connection = psycopg.Connection[tuple[object, ...]]


def remember(server: Server) -> None:
    """Keep what there is now as what copies are made of."""
    with psycopg.connect(server.url) as conn:
        for name, order in _sources():
            which = OF_ORDERS if name.endswith("_log") else ""
            conn.execute(
                f"CREATE UNLOGGED TABLE {name}_real AS SELECT * FROM {name} {which} {order}"
            )


def multiply(server: Server, first: int, last: int) -> None:
    """Write the copies with these numbers, and have every reader be past them."""
    if last > MOST_COPIES:
        raise ValueError(f"{last} copies; at most {MOST_COPIES}: begin with more orders")
    numbers = range(first, last + 1)
    with ThreadPoolExecutor(WRITERS) as pool:
        shares = [numbers[start::WRITERS] for start in range(WRITERS)]
        list(pool.map(lambda share: _write(server, share), shares))
    with psycopg.connect(server.url, autocommit=True) as conn:
        _read_all(conn)


def _write(server: Server, numbers: range) -> None:
    with psycopg.connect(server.url) as conn:
        (prefix,) = conn.execute("SELECT left(order_id, 4) FROM orders_order_real").fetchone() or (
            "",
        )
        statements = [_statement(conn, name, str(prefix)) for name, _ in _sources()]
        for number in numbers:
            for statement in statements:
                conn.execute(statement.replace("NUMBER", f"{number:04x}"))
            conn.commit()


def _sources() -> Iterator[tuple[str, str]]:
    """The tables that are multiplied, and in which order their rows are."""
    for service in services():
        yield service.tables.log._meta.db_table, "ORDER BY position"
        yield service.tables.delivery._meta.db_table, "ORDER BY id"
    for name in ORDER_TABLES:
        yield name, ""


def _statement(conn: Connection, name: str, prefix: str) -> str:
    """The INSERT for one copy of a table, without the columns that the database numbers."""
    columns = conn.execute(
        """SELECT a.attname, format_type(a.atttypid, NULL), EXISTS (
               SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
               AND a.attnum = ANY(i.indkey) AND a.attname <> 'tenant')
           FROM pg_attribute a
           WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attidentity = '' ORDER BY a.attnum""",
        [name],
    ).fetchall()
    names = ", ".join(f'"{column}"' for column, *_ in columns)
    values = ", ".join(_copied(str(c), str(kind), prefix, unique=bool(u)) for c, kind, u in columns)
    return f"INSERT INTO {name} ({names}) SELECT {values} FROM {name}_real"


def _copied(column: str, kind: str, prefix: str, *, unique: bool) -> str:
    """The column's value in the copy. What is unique and has no UUID gets the number behind it."""
    if kind not in {"uuid", "text", "jsonb"} and not kind.startswith("character"):
        return f'"{column}"'
    changed = f"""replace("{column}"::text, '{prefix}', 'NUMBER')"""
    if unique and kind != "uuid":
        changed = f"""CASE WHEN "{column}" ~ '{prefix}' OR "{column}" = '' THEN {changed}
                      ELSE "{column}" || '-NUMBER' END"""
    return f"({changed})::{kind}"


def _read_all(conn: Connection) -> None:
    """Every partition has read every source to its end."""
    for target in services():
        ends = ", ".join(
            f"'{source}', (SELECT coalesce(max(position), 0) FROM {log})"
            for source, log in readable(target).items()
        )
        table = target.tables.partition._meta.db_table
        conn.execute(f"UPDATE {table} SET positions = jsonb_build_object({ends})")
