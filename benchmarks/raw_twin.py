"""The raw twin: the rows of a platform run, written again with nothing but psycopg.

What a run has written is read from its database: every message, delivery and effect with what
caused it, and the business rows as they ended. From that the twin's processes prepare, before the
clock runs, one transaction for each step of a batch of orders: what one service did about the
messages at one distance from the order. Then they send these transactions, each as one pipeline
of prepared statements with binary arrays. The twin reads nothing, decides nothing, encodes nothing
and checks nothing, so it is an upper bound, not a competitor.

    python -m benchmarks.raw_twin RECORDING NUMBER PROCESSES

says `ready` when it is, starts at a line on its standard input, and says `done`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from .server import Server

BATCH = 200
"""Orders in a batch."""
END = 10**6 - 1
"""A position behind all messages."""
SERVICES = (
    "orders",
    "inventory",
    "payments",
    "shipping",
    "notifications",
    "customers",
    "analytics",
)  # fmt: skip
PROVIDERS = {
    "payments": "payments_simulatedcharge",
    "shipping": "shipping_simulatedlabel",
    "notifications": "notifications_mail",
}
"""The table that a service's effects write outside."""
SESSION = "-c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"

Statement = tuple[str, Sequence[Any]]


# What the services write about a message


@dataclass(frozen=True)
class New:
    """A row for the order (or the notification), with these values instead of its last ones."""

    table: str
    first: dict[str, Any]


@dataclass(frozen=True)
class Set:
    """These columns of that row get their last values; `given` ones these values."""

    table: str
    columns: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shared:
    """All columns of the rows that orders share, by product, customer or (without a key) all."""

    table: str
    key: str = ""


Change = New | Set | Shared
_NOT_PAID = {"payment_id": "", "payment_status": "", "transaction_id": ""}
_NOT_SENT: dict[str, Any] = {"carrier": "", "tracking_number": "", "estimated_delivery": None}
_LABEL = (*_NOT_SENT, "label_url", "cost", "currency", "status")
SUMMARY = "customers_ordersummary"

CHANGES: dict[tuple[str, str], tuple[Change, ...]] = {
    ("inventory", "inventory.ReserveInventory"): (
        New("inventory_reservation", {"status": "Reserved"}),
        Shared("inventory_stockitem", "product_id"),
    ),
    ("inventory", "inventory.InventoryReserved"): (
        Shared("inventory_inventorysummary", "product_id"),
    ),
    ("inventory", "inventory.StockReserved"): (Shared("inventory_inventorylevel", "product_id"),),
    ("inventory", "inventory.CommitInventory"): (
        Set("inventory_reservation", ("status",)),
        Shared("inventory_stockitem", "product_id"),
    ),
    ("inventory", "inventory.StockCommitted"): (Shared("inventory_inventorylevel", "product_id"),),
    ("orders", "inventory.InventoryReserved"): (
        Set("orders_order", given={"status": "Reserved"}),
        Set("orders_fulfilment", given={"step": "paying"}),
    ),
    ("orders", "payments.PaymentProcessed"): (
        Set("orders_order", ("payment_id",), {"status": "Paid"}),
        Set("orders_fulfilment", ("deadline_at",), {"step": "shipping"}),
    ),
    ("orders", "shipping.ShipmentCreated"): (
        Set("orders_order", ("status", "shipment_id", "tracking_number")),
        Set("orders_fulfilment", ("step", "deadline_at")),
    ),
    ("payments", "payments.ProcessPayment"): (
        New(
            "payments_payment", {"status": "Pending", "transaction_id": "", "processed_at": None}
        ),
    ),
    ("payments", "payments.RecordCharge"): (
        Set("payments_payment", ("status", "transaction_id", "processed_at")),
    ),
    ("shipping", "shipping.CreateShipment"): (
        New(
            "shipping_shipment",
            {**_NOT_SENT, "label_url": "", "cost": None, "currency": "", "status": "Requested"},
        ),
    ),
    ("shipping", "shipping.RecordLabel"): (Set("shipping_shipment", _LABEL),),
    ("notifications", "orders.OrderCreated"): (
        New(
            "notifications_notification", {"status": "Queued", "provider_id": "", "sent_at": None}
        ),
    ),
    ("notifications", "notifications.PrepareNotification"): (
        New(
            "notifications_notification", {"status": "Queued", "provider_id": "", "sent_at": None}
        ),
    ),
    ("notifications", "notifications.RecordNotification"): (
        Set("notifications_notification", ("status", "provider_id", "sent_at")),
    ),
    ("customers", "orders.OrderCreated"): (
        New(
            SUMMARY,
            {
                **_NOT_PAID,
                **_NOT_SENT,
                "status": "Pending",
                "payment_processed_at": None,
                "shipment_id": "",
                "shipment_status": "",
            },
        ),
        Shared("customers_customeractivity", "customer_id"),
    ),
    ("customers", "orders.OrderReserved"): (
        Set(SUMMARY, ("updated_at",), {"status": "Reserved"}),
    ),
    ("customers", "payments.PaymentRequested"): (
        Set(SUMMARY, ("payment_id", "updated_at"), {"payment_status": "Pending"}),
    ),
    ("customers", "payments.PaymentProcessed"): (
        Set(SUMMARY, ("payment_status", "payment_processed_at", "transaction_id", "updated_at")),
    ),
    ("customers", "orders.OrderPaid"): (Set(SUMMARY, ("updated_at",), {"status": "Paid"}),),
    ("customers", "shipping.ShipmentCreated"): (
        Set(SUMMARY, ("shipment_id", "shipment_status", *_NOT_SENT, "updated_at")),
    ),
    ("customers", "orders.OrderShipped"): (Set(SUMMARY, ("status", "updated_at")),),
    ("analytics", "orders.OrderCreated"): (
        Shared("analytics_dailysales"),
        Shared("analytics_hourlysales"),
        Shared("analytics_dailycustomer", "customer_id"),
        Shared("analytics_productsales", "product_id"),
    ),
}  # fmt: skip


# The recording


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
    sent = {}
    for message_id, (cause, name, payload) in causes.items():
        distance, earlier = 0, cause
        while earlier in causes:
            earlier, distance = causes[earlier][0], distance + 1
        fields = msgspec.json.decode(payload)
        order = fields.get("order_id")
        if order in orders:
            confirmation = f"{order}-order_confirmation-email"
            told = fields.get("notification_id", confirmation)
            sent[message_id] = Sent(name, order, told, distance)
    return sent


# The transactions


def transactions(recording: Recording, number: int, processes: int) -> list[list[Statement]]:
    """What one of several processes sends, in order: a list of statements for each commit."""
    mine = recording.orders[number::processes]
    writer = _Writer(recording, number, processes)
    found = []
    for start in range(0, len(mine), BATCH):
        found += list(writer.batch(set(mine[start : start + BATCH])))
    return found


class _Writer:
    def __init__(self, recording: Recording, number: int, processes: int) -> None:
        self.recording = recording
        self.tables = recording.tables
        self.number, self.processes = number, processes
        self._indexes: dict[tuple[str, str], dict[Any, list[Any]]] = {}
        self.rows = {
            table.name: self._by_subject(table)
            for table in self.tables.values()
            if "order_id" in table.place or table.name in PROVIDERS.values()
        }

    def batch(self, orders: set[str]) -> Iterator[list[Statement]]:
        """The transactions of a batch, step by step."""
        sent = {key: each for key, each in self.recording.sent.items() if each.order in orders}
        for distance in range(max(each.distance for each in sent.values()) + 1):
            now = {key: each for key, each in sent.items() if each.distance == distance}
            for service in SERVICES:
                effects = self._select(f"{service}_effect", "message_id", now)
                if effects:
                    yield from self._performed(service, effects)
                yield from self._delivered(service, now)

    def _delivered(self, service: str, now: dict[Any, Sent]) -> Iterator[list[Statement]]:
        """One service's handling of the messages at one distance."""
        deliveries = self._select(f"{service}_delivery", "message_id", now)
        effects = {
            self._id(service, row) for row in self._select(f"{service}_effect", "message_id", now)
        }
        table = self.tables[f"{service}_delivery"]
        deliveries = [row for row in deliveries if table.of(row, "message_id") not in effects]
        if not deliveries:
            return
        about = [now[key] for key in {table.of(row, "message_id"): None for row in deliveries}]
        causes = {table.of(row, "message_id") for row in deliveries}
        yield [
            *self._changes(service, about),
            *self._insert(
                f"{service}_effect", self._select(f"{service}_effect", "cause_id", causes)
            ),
            *self._insert(f"{service}_delivery", deliveries),
            self._positions(service),
            *self._insert(f"{service}_log", self._select(f"{service}_log", "cause_id", causes)),
        ]

    def _performed(self, service: str, effects: list[Any]) -> Iterator[list[Statement]]:
        """Claim, do and finish: three transactions, of which the second is the provider's."""
        table = self.tables[f"{service}_effect"]
        due = [row for row in effects if table.of(row, "name") != "shipping.TrackShipment"]
        if not due:
            return
        ids = [table.of(row, "id") for row in due]
        messages = {table.of(row, "message_id") for row in due}
        provider = self.tables[PROVIDERS[service]]
        subjects = [self._subject(provider.name, self.recording.sent[key]) for key in messages]
        claim = f"""UPDATE {table.name} SET token = gen_random_uuid(), claims = claims + 1,
                        due_at = now() + interval '12 s' WHERE id = ANY(%b::uuid[])"""
        yield [(claim, [ids])]
        yield self._insert(provider.name, [self.rows[provider.name][each] for each in subjects])
        yield [
            (f"DELETE FROM {table.name} WHERE id = ANY(%b::uuid[])", [ids]),
            *self._insert(
                f"{service}_delivery", self._select(f"{service}_delivery", "message_id", messages)
            ),
            *self._insert(f"{service}_log", self._select(f"{service}_log", "cause_id", messages)),
        ]

    def _changes(self, service: str, messages: list[Sent]) -> Iterator[Statement]:
        by_name: dict[str, list[Sent]] = defaultdict(list)
        for message in messages:
            by_name[message.name].append(message)
        for name, about in sorted(by_name.items()):
            for change in CHANGES.get((service, name), ()):
                yield from self._change(change, about)

    def _change(self, change: Change, about: list[Sent]) -> Iterator[Statement]:
        table = self.tables[change.table]
        if isinstance(change, Shared):
            yield self._upsert(table, self._shared(table, change.key, about))
            return
        subjects = dict.fromkeys(self._subject(table.name, message) for message in about)
        rows = [self.rows[table.name][subject] for subject in subjects]
        if isinstance(change, New):
            yield from self._insert(table.name, [_with(table, row, change.first) for row in rows])
        else:
            rows = [_with(table, row, change.given) for row in rows]
            names = list(dict.fromkeys((*change.columns, *change.given)))
            yield _update(table, rows, names)

    def _shared(self, table: Table, key: str, about: list[Sent]) -> list[Any]:
        orders = {message.order for message in about}
        if key == "product_id":
            wanted = set().union(*(self.recording.products[order] for order in orders))
        elif key == "customer_id":
            wanted = {self.recording.customers[order] for order in orders}
        else:
            return table.rows
        return [row for row in table.rows if table.of(row, key) in wanted]

    def _positions(self, service: str) -> Statement:
        """The partitions that this process would hold have been read to the end."""
        table = self.tables[f"{service}_partition"]
        rows = [r for r in table.rows if table.of(r, "number") % self.processes == self.number]
        end = msgspec.json.encode(dict.fromkeys(SERVICES, END)).decode()
        values = [[table.of(row, "number") for row in rows], [end] * len(rows)]
        sql = f"""UPDATE {table.name} p SET positions = u.positions::jsonb
                  FROM unnest(%b::int[], %b::text[]) AS u(number, positions)
                  WHERE p.number = u.number"""
        return sql, values

    def _insert(self, name: str, rows: Sequence[Any]) -> list[Statement]:
        return [_insert(self.tables[name], rows)] if rows else []

    def _upsert(self, table: Table, rows: Sequence[Any]) -> Statement:
        sql, values = _insert(table, sorted(rows, key=lambda row: str(table.of(row, "id"))))
        names = [c.name for c in table.columns if c.name != "id"]
        changed = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
        return f"{sql} ON CONFLICT (id) DO UPDATE SET {changed}", values

    def _select(self, name: str, column: str, keys: Iterable[Any]) -> list[Any]:
        if name not in self.tables:
            return []
        index = self._indexes.setdefault((name, column), {})
        if not index:
            table = self.tables[name]
            for row in table.rows:
                index.setdefault(table.of(row, column), []).append(row)
        return [row for key in keys for row in index.get(key, ())]

    def _id(self, service: str, row: Any) -> Any:
        return self.tables[f"{service}_effect"].of(row, "message_id")

    def _subject(self, table: str, message: Sent) -> str:
        """What the row that a message is about is known by in a table."""
        match table:
            case "notifications_notification" | "notifications_mail":
                return message.notification
            case _:
                return message.order

    def _by_subject(self, table: Table) -> dict[str, Any]:
        match table.name:
            case "notifications_notification":
                return {table.of(row, "notification_id"): row for row in table.rows}
            case "notifications_mail":
                return {table.of(row, "key").partition("/")[2]: row for row in table.rows}
            case "payments_simulatedcharge":
                return {table.of(row, "key").split("/")[1]: row for row in table.rows}
            case "shipping_simulatedlabel":
                prefix = "ship-"
                return {
                    table.of(row, "reference").partition(f"/{prefix}")[2]: row for row in table.rows
                }
            case _:
                return {table.of(row, "order_id"): row for row in table.rows}


def _with(table: Table, row: tuple[Any, ...], values: dict[str, Any]) -> tuple[Any, ...]:
    changed = list(row)
    for name, value in values.items():
        changed[table.place[name]] = value
    return tuple(changed)


def _insert(table: Table, rows: Sequence[tuple[Any, ...]]) -> Statement:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    written = ", ".join(f'u."{c.name}"' + ("::jsonb" if c.json else "") for c in table.columns)
    arrays = ", ".join(f"%b::{column.array}" for column in table.columns)
    sql = f"INSERT INTO {table.name} ({names}) SELECT {written} FROM unnest({arrays}) AS u({names})"
    return sql, [list(values) for values in zip(*rows, strict=True)]


def _update(table: Table, rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Statement:
    columns = [table.columns[table.place[name]] for name in ("id", *names)]
    listed = ", ".join(f'"{column.name}"' for column in columns)
    arrays = ", ".join(f"%b::{column.array}" for column in columns)
    changed = ", ".join(
        f'"{c.name}" = u."{c.name}"' + ("::jsonb" if c.json else "") for c in columns[1:]
    )
    sql = f"""UPDATE {table.name} t SET {changed} FROM unnest({arrays}) AS u({listed})
              WHERE t.id = u.id"""
    return sql, [[table.of(row, column.name) for row in rows] for column in columns]


# The processes


@contextmanager
def twins(recording: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes, ready to write their share of the orders."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", __name__, str(recording), str(number), str(count)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(count)
        ]
        for process in processes:
            hear(process, "ready")
        yield processes


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str], word: str) -> None:
    """Wait for a word. Raises ChildProcessError when the process ends instead."""
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    if said != word:
        raise ChildProcessError(f"the raw twin said {said!r} instead of {word!r}")


def last_positions(conn: psycopg.Connection[Any]) -> dict[str, int]:
    """The last position of each log."""
    logs = [f"{service}_log" for service in SERVICES]
    return {log: _one(conn, f"SELECT coalesce(max(position), 0) FROM {log}") for log in logs}


def row_counts(server: Server) -> dict[str, int]:
    """How many rows each table of the services holds."""
    with psycopg.connect(server.url) as conn:
        names = conn.execute(
            """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
               AND relkind IN ('r', 'p') AND NOT relispartition
               AND split_part(relname, '_', 1) = ANY(%s) AND relname NOT LIKE '%%\\_seen'""",
            [list(SERVICES)],
        ).fetchall()
        return {name: _one(conn, f"SELECT count(*) FROM {name}") for (name,) in sorted(names)}


def _one(conn: psycopg.Connection[Any], sql: str) -> int:
    (number,) = conn.execute(sql).fetchone() or (0,)
    return int(number)


def main(recording: str, number: str, processes: str) -> None:
    prepared = transactions(pickle.loads(Path(recording).read_bytes()), int(number), int(processes))
    options = {"options": SESSION, "prepare_threshold": 0}
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, **options) as conn:  # type: ignore[arg-type]
        conn.prepared_max = None
        print("ready", flush=True)
        sys.stdin.readline()
        for statements in prepared:
            with conn.pipeline():
                conn.execute("BEGIN")
                for sql, values in statements:
                    conn.execute(sql, values)
                conn.execute("COMMIT")
        print("done", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
