"""The raw twin: the rows of a platform run, written again with nothing but psycopg.

From the recording of a run its processes prepare, before the clock runs, one transaction for each
step of a batch of orders: what one service did about the messages at one distance from the order.
Then they send these transactions, each as one pipeline of prepared statements with binary arrays.
The twin reads nothing, decides nothing, encodes nothing and checks nothing, so it is an upper
bound, not a competitor.

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
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from .changes import CHANGES, PROVIDERS, SERVICES, Change, New, Shared
from .recording import Column, Recording, Sent, Table

BATCH = 200
"""Orders in a batch."""
END = 10**6 - 1
"""A position behind all messages."""
SESSION = "-c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"

Statement = tuple[str, Sequence[Any]]


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
        """Do and finish: two transactions, of which the first is the provider's. That all are claimed
        at birth makes the twin a little faster than what it copies."""
        table = self.tables[f"{service}_effect"]
        due = [row for row in effects if table.of(row, "name") != "shipping.TrackShipment"]
        if not due:
            return
        ids = [table.of(row, "id") for row in due]
        messages = {table.of(row, "message_id") for row in due}
        provider = self.tables[PROVIDERS[service]]
        subjects = [self._subject(provider.name, self.recording.sent[key]) for key in messages]
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
    sql = f"INSERT INTO {table.name} ({names}) SELECT {written} FROM {_unnested(table.columns)}"
    return sql, [list(values) for values in zip(*rows, strict=True)]


def _update(table: Table, rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Statement:
    columns = [table.columns[table.place[name]] for name in ("id", *names)]
    changed = ", ".join(
        f'"{c.name}" = u."{c.name}"' + ("::jsonb" if c.json else "") for c in columns[1:]
    )
    sql = f"UPDATE {table.name} t SET {changed} FROM {_unnested(columns)} WHERE t.id = u.id"
    return sql, [[table.of(row, column.name) for row in rows] for column in columns]


def _unnested(columns: Sequence[Column]) -> str:
    chosen = ", ".join(f'unnest(%b::{c.array}) AS "{c.name}"' for c in columns)
    return f"(SELECT {chosen}) AS u"


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


def _send(conn: psycopg.Connection[Any], statements: Sequence[Statement]) -> None:
    with conn.pipeline():
        conn.execute("BEGIN")
        for sql, values in statements:
            conn.execute(sql, values)
        conn.execute("COMMIT")


def main(recording: str, number: str, processes: str) -> None:
    prepared = transactions(pickle.loads(Path(recording).read_bytes()), int(number), int(processes))
    options = {"options": SESSION, "prepare_threshold": 0}
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, **options) as conn:  # type: ignore[arg-type]
        conn.prepared_max = None
        print("ready", flush=True)
        sys.stdin.readline()
        for statements in prepared:
            try:
                _send(conn, statements)
            except psycopg.errors.UniqueViolation:  # another twin made the same shared row first
                conn.rollback()
                _send(conn, statements)
        print("done", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
