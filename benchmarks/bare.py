"""The bare handler: an application that does an order's reads and writes, and nothing else.

It knows no platform. The rows of the last order that the platform placed (`sample`) tell it what to
write: the same columns with the same values, under new ids. Reads and writes are one pipeline each,
prepared, as the platform's are. It checks nothing and decides nothing; the answer has the order.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import psycopg
import uuid_utils.compat

from ecommerce.threads import THREADS, Threads

FIRST_CAUSE = """(SELECT cause_id FROM orders_log WHERE stream = 'order/' || %(order)s
                 ORDER BY position LIMIT 1)"""
WRITTEN = {
    "orders_order": "order_id = %(order)s",
    "orders_fulfilment": "order_id = %(order)s",
    "orders_delivery": f"message_id = {FIRST_CAUSE}",
    "orders_log": f"stream = 'order/' || %(order)s AND cause_id = {FIRST_CAUSE}",
}
"""What one CreateOrder writes, the log last, and how an order's rows are found."""
CATALOGUE = "SELECT * FROM orders_catalogueitem WHERE tenant = %b AND product_id = ANY(%b::text[])"
ORDER = "SELECT * FROM orders_order WHERE tenant = %b AND order_id = ANY(%b::text[]) FOR UPDATE"
LOCK = "SELECT pg_advisory_xact_lock_shared(messaging_log_key('orders_log'))"
SUMMARY = "SELECT * FROM customers_ordersummary WHERE tenant = %b AND order_id = %b"
NEWEST = """SELECT * FROM customers_ordersummary WHERE tenant = %b AND created_at IS NOT NULL
            ORDER BY created_at DESC, id DESC LIMIT %b"""
TENANT = "main"
MOST_BYTES = 100_000

Row = dict[str, Any]
_local = threading.local()


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """POST /api/orders, GET /api/orders and GET /api/orders/<id>."""
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    conn = _connection()
    status = "200 OK"
    found: Row | list[Row]
    if method == "POST":
        status, found = "201 Created", _place(conn, json.load(environ["wsgi.input"]))
    elif path == "/api/orders":
        limit = int(parse_qs(environ["QUERY_STRING"]).get("limit", ["20"])[0])
        found = _rows(conn.execute(NEWEST, [TENANT, limit]))
    else:
        found = _rows(conn.execute(SUMMARY, [TENANT, path.rpartition("/")[2]]))[0]
    body = json.dumps(found, default=str).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


_pool = Threads(answer, THREADS, MOST_BYTES)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The same for an ASGI server, in threads as the platform's pages."""
    if scope["type"] == "http":
        await _pool(scope, receive, send)


def _place(conn: psycopg.Connection[Any], wanted: Row) -> Row:
    order, command = str(uuid_utils.compat.uuid7()), uuid_utils.compat.uuid7()
    products = sorted({item["productId"] for item in wanted["items"]})
    with conn.pipeline():
        conn.execute("BEGIN")
        conn.execute("SELECT messaging_now()")
        conn.execute(CATALOGUE, [TENANT, products], binary=True)
        conn.execute(ORDER, [TENANT, [order]], binary=True).fetchall()
    with conn.pipeline():
        for sql, columns, rows in _local.statements:
            if "orders_log" in sql:
                conn.execute(LOCK)
            for row in rows:
                new = _renewed(row, columns, order, command)
                conn.execute(sql, [new[column] for column in columns])
        conn.execute("COMMIT")
    return {**wanted, "orderId": order, "status": "Pending"}


def _renewed(row: Row, columns: list[str], order: str, command: uuid.UUID) -> Row:
    """The row as it would be for another order, caused by another command."""
    old = _local.sample
    new = {c: v.replace(old, order) if isinstance(v, str) else v for c, v in row.items()}
    if "id" in columns:
        new["id"] = uuid_utils.compat.uuid7()
    if "cause_id" in columns and row["cause_id"] is not None:
        new["cause_id"] = new["correlation_id"] = command
        new["message_id"] = uuid_utils.compat.uuid7()
    elif "message_id" in columns:
        new["message_id"] = command
    return new


def _connection() -> psycopg.Connection[Any]:
    """This thread's connection; the first time also what an order writes."""
    if not hasattr(_local, "conn"):
        conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=0)
        first = conn.execute(
            "SELECT order_id FROM orders_order ORDER BY id DESC LIMIT 1"
        ).fetchone()
        assert first is not None, "the bare handler needs one order to do the same"
        _local.conn, _local.sample = conn, first[0]
        _local.statements = [_insert(conn, table, which) for table, which in WRITTEN.items()]
    found: psycopg.Connection[Any] = _local.conn
    return found


def _insert(
    conn: psycopg.Connection[Any], table: str, which: str
) -> tuple[str, list[str], list[Row]]:
    described = conn.execute(
        """SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
           WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''
           ORDER BY attnum""",
        [table],
    ).fetchall()
    columns = [name for name, _ in described]
    read = ", ".join(f'"{n}"::text' if kind == "jsonb" else f'"{n}"' for n, kind in described)
    values = ", ".join(f"%b::text::{k}" if k == "jsonb" else f"%b::{k}" for _, k in described)
    named = ", ".join(f'"{name}"' for name in columns)
    rows = conn.execute(f"SELECT {read} FROM {table} WHERE {which}", {"order": _local.sample})
    found = [dict(zip(columns, row, strict=True)) for row in rows.fetchall()]
    return f"INSERT INTO {table} ({named}) VALUES ({values})", columns, found


def _rows(cursor: psycopg.Cursor[Any]) -> list[Row]:
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
