"""What a platform run has written, read from its database: the raw twin's score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg

from .changes import CHANGES, PROVIDERS, SERVICES
from .server import Server


@dataclass(frozen=True)
class Column:
    """A column, its array type for `unnest`, and whether it holds jsonb, which travels as text."""

    name: str
    array: str
    json: bool


@dataclass
class Table:
    """A table's rows as tuples of its columns, but for those that the database numbers itself."""

    name: str
    columns: list[Column]
    rows: list[tuple[Any, ...]]

    def __post_init__(self) -> None:
        self.place = {column.name: number for number, column in enumerate(self.columns)}

    def of(self, row: tuple[Any, ...], column: str) -> Any:
        return row[self.place[column]]


@dataclass(frozen=True)
class Sent:
    """A message of the recorded run: which order it is about, and how far from its beginning."""

    name: str
    order: str
    notification: str
    distance: int


@dataclass
class Recording:
    """What a platform run wrote, and how its orders are told apart."""

    orders: list[str]
    products: dict[str, set[str]]
    customers: dict[str, str]
    sent: dict[Any, Sent]
    tables: dict[str, Table]


CONFIRMED = "order_confirmation-email"
TOLD = {
    "payments.PaymentProcessed": "payment_receipt-email",
    "shipping.ShipmentCreated": "shipment-sms",
}
"""Which notification an event causes."""
EFFECTS_SEEN = """
    CREATE TABLE {table}_seen AS TABLE {table} WITH NO DATA;
    CREATE FUNCTION {table}_see() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO {table}_seen SELECT NEW.*; RETURN NULL; END $$;
    CREATE TRIGGER {table}_see AFTER INSERT ON {table}
        FOR EACH ROW EXECUTE FUNCTION {table}_see();
"""


def remember_effects(conn: psycopg.Connection[Any]) -> None:
    """Effects are deleted when they are done: keep a copy of each, in the run to be recorded."""
    for service in PROVIDERS:
        conn.execute(EFFECTS_SEEN.format(table=f"{service}_effect"))


def record(conn: psycopg.Connection[Any], before: dict[str, int]) -> Recording:
    """Read what a run wrote; `before` tells the last position of each log that was there."""
    names = {change.table for changes in CHANGES.values() for change in changes}
    names |= {*PROVIDERS.values(), "orders_order", "orders_fulfilment"}
    tables = {name: _table(conn, name) for name in sorted(names)}
    for service in SERVICES:
        log, partition = f"{service}_log", f"{service}_partition"
        tables[log] = _table(conn, log, f"WHERE position > {before[log]} ORDER BY position")
        tables[f"old {log}"] = _table(conn, log, f"WHERE position <= {before[log]}")
        tables[f"{service}_delivery"] = _table(conn, f"{service}_delivery", "ORDER BY id")
        tables[partition] = _table(conn, partition, "ORDER BY number")
    for service in PROVIDERS:
        seen = _table(conn, f"{service}_effect_seen")
        tables[f"{service}_effect"] = Table(f"{service}_effect", seen.columns, seen.rows)
    orders = tables["orders_order"]
    ids = [orders.of(row, "order_id") for row in orders.rows]
    return Recording(
        orders=sorted(ids),
        products={
            orders.of(row, "order_id"): {
                line["product_id"] for line in msgspec.json.decode(orders.of(row, "lines"))
            }
            for row in orders.rows
        },
        customers={
            orders.of(row, "order_id"): orders.of(row, "customer_id") for row in orders.rows
        },
        sent=_sent(tables, set(ids)),
        tables=tables,
    )


def _table(conn: psycopg.Connection[Any], name: str, which: str = "") -> Table:
    described = conn.execute(
        """SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
           WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''
           ORDER BY attnum""",
        [name],
    ).fetchall()
    columns = [_column(*each) for each in described]
    read = ", ".join(f'"{c.name}"' + ("::text" if c.json else "") for c in columns)
    return Table(name, columns, conn.execute(f"SELECT {read} FROM {name} {which}").fetchall())


def _column(name: str, kind: str) -> Column:
    text = kind in {"jsonb", "text"} or kind.startswith("character")
    return Column(name, "text[]" if text else f"{kind}[]", kind == "jsonb")


def _sent(tables: dict[str, Table], orders: set[str]) -> dict[Any, Sent]:
    """All messages about these orders, by id; OrderCreated and ReserveInventory begin each."""
    causes: dict[Any, tuple[Any, str, str]] = {}
    for table in tables.values():
        if table.name.endswith(("_log", "_effect")):
            for row in table.rows:
                cause, name, payload = (table.of(row, c) for c in ("cause_id", "name", "payload"))
                causes[table.of(row, "message_id")] = (cause, name, payload)
    causes |= _answers(tables, causes)
    sent = {}
    for message_id, (cause, name, payload) in causes.items():
        distance, earlier = 0, cause
        while earlier in causes:
            earlier, distance = causes[earlier][0], distance + 1
        fields = msgspec.json.decode(payload)
        order = fields.get("order_id")
        if order in orders:
            told = fields.get("notification_id") or f"{order}-{TOLD.get(name, CONFIRMED)}"
            sent[message_id] = Sent(name, order, told, distance)
    return sent


def _answers(
    tables: dict[str, Table], causes: dict[Any, tuple[Any, str, str]]
) -> dict[Any, tuple[Any, str, str]]:
    """The messages that stand in no log: an effect's answer is handled as soon as it is there.

    The delivery log has them, with their handler; they are about what the effect was about.
    """
    # Here, because the twin reads recordings without Django.
    from ecommerce.messaging.messages import contract_of
    from ecommerce.messaging.registry import handlers

    names = {
        handler.name: contract_of(handler.message_types[0]).name
        for handler in handlers()
        if handler.kind == "handles"
    }
    found = {}
    for table in tables.values():
        if table.name.endswith("_delivery"):
            for row in table.rows:
                message, cause, handler = (
                    table.of(row, column) for column in ("message_id", "cause_id", "handler")
                )
                if message not in causes and cause in causes and handler in names:
                    found[message] = (cause, names[handler], causes[cause][2])
    return found


def last_positions(conn: psycopg.Connection[Any]) -> dict[str, int]:
    """The last position of each log."""
    logs = [f"{service}_log" for service in SERVICES]
    return {log: _one(conn, f"SELECT coalesce(max(position), 0) FROM {log}") for log in logs}


PINGS = {
    "log": "WHERE stream NOT LIKE 'canary/%'",
    "delivery": "WHERE handler NOT LIKE '%.answer_ping'",
}
"""Each worker sends itself one when it begins, which has nothing to do with orders."""


def row_counts(server: Server) -> dict[str, int]:
    """How many rows each table of the services holds, but for the lists of workers, and pings."""
    with psycopg.connect(server.url) as conn:
        names = conn.execute(
            """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
               AND relkind IN ('r', 'p') AND NOT relispartition
               AND split_part(relname, '_', 1) = ANY(%s) AND relname NOT LIKE '%%\\_seen'
               AND split_part(relname, '_', 2) NOT IN ('worker', 'canary')""",
            [list(SERVICES)],
        ).fetchall()
        return {
            name: _one(conn, f"SELECT count(*) FROM {name} {PINGS.get(name.partition('_')[2], '')}")
            for (name,) in sorted(names)
        }


def _one(conn: psycopg.Connection[Any], sql: str) -> int:
    (number,) = conn.execute(sql).fetchone() or (0,)
    return int(number)
