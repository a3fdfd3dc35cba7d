"""The kernel's steps, taken by hand: what a worker does by itself, a test does one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from ecommerce.messaging import log
from ecommerce.messaging.batches import BATCH
from ecommerce.messaging.context import Context
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.drain import Drain
from ecommerce.messaging.messages import Message, decode
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.services import service
from ecommerce.messaging.subscriptions import readable

F = TypeVar("F", bound=Callable[..., Any])
PATIENCE = 20.0
"""Seconds after which a condition that does not come true fails its test."""


class Puppet:
    """A worker's part for one service. It moves only when the test says so."""

    def __init__(self, label: str, name: str) -> None:
        self.service = service(label)
        self.drain = Drain(self.service, readable(self.service), name)
        self.conn = connect(self.service.database)
        self.horizons: dict[str, int] = {}

    @property
    def held(self) -> set[int]:
        """The partitions this worker believes to hold."""
        return set(self.drain.leases.held)

    def hold(self) -> set[int]:
        """Beat, renew, and take or give back partitions."""
        self.drain.leases.hold(self.conn)
        return self.held

    def release(self) -> None:
        self.drain.leases.release(self.conn)

    def step(self, limit: int = BATCH) -> int:
        """Deliver one batch of what can be read now."""
        logs = sorted(self.drain.sources.values())
        self.horizons = log.horizons(self.conn, logs, self.horizons)
        return self.drain.step(self.conn, self.drain.horizons(self.horizons), limit)

    def work(self, limit: int = BATCH) -> int:
        """Take what is free, and deliver until nothing is left."""
        self.hold()
        total = 0
        while done := self.step(limit):
            total += done
        return total

    def retry(self) -> int:
        """Try again what is parked and due."""
        return self.drain.retry_parked(self.conn)

    def reconnect(self) -> None:
        self.conn.close()
        self.conn = connect(self.service.database)


def in_service(label: str) -> Callable[[F], F]:
    """Make a test's handler one of a service: the registry asks for a function's module."""

    def mark(function: F) -> F:
        function.__module__ = f"{label}.handlers"
        return function

    return mark


def cause(tenant: str = "main") -> Context:
    """A context without a past."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return Context(
        tenant=tenant, actor="test", message_id=uuid7(), correlation_id=uuid7(), cause_id=None,
        traceparent=None, recorded_at=now, now=now,
    )  # fmt: skip


def append(conn: Connection, source: str, *messages: Message, tenant: str = "main") -> list[int]:
    """Append to a service's log within the caller's transaction; return the positions."""
    context = cause(tenant)
    written = log.append(service(source).tables, [log.outgoing(m, context) for m in messages])
    return [position for (position,) in conn.execute(*written).fetchall()]


def write(source: str, *messages: Message, tenant: str = "main") -> list[int]:
    """Append to a service's log, and commit."""
    with connect(service(source).database) as conn, conn.transaction():
        return append(conn, source, *messages, tenant=tenant)


def written(source: str) -> list[Message]:
    """What stands in a service's log, in order."""
    rows = fetch(source, 'SELECT name, contract, payload, personal FROM "{log}" ORDER BY position')
    return [decode(*row) for row in rows]


def fetch(label: str, query: str, *values: Any) -> list[Any]:
    """Ask a service's database; `{log}`, `{parked}`, … stand for the service's tables."""
    owner = service(label)
    names = {kind: model._meta.db_table for kind, model in vars(owner.tables).items()}
    with connect(owner.database) as conn:
        return conn.execute(query.format(**names), values).fetchall()


def counts(label: str) -> dict[str, int]:
    """How many rows each messaging table of a service has."""
    return {
        kind: fetch(label, f'SELECT count(*) FROM "{model._meta.db_table}"')[0][0]
        for kind, model in vars(service(label).tables).items()
    }


def until(condition: Callable[[], Any]) -> Any:
    """Poll until something is true, and return it; fail when it stays false."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("what the test waits for did not happen")
        time.sleep(0.005)
    return found


def is_blocked(conn: Connection) -> bool:
    """Whether a connection's statement waits for a lock."""
    with connect("default") as observer:
        row = observer.execute(
            "SELECT cardinality(pg_blocking_pids(%b::int)) > 0", (conn.info.backend_pid,)
        ).fetchone()
    return bool(row and row[0])


def waiting(label: str) -> int:
    """How many connections to a service's database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    ((count,),) = fetch(label, f"{query} AND datname = current_database()")
    return int(count)


class Altered:
    """A connection whose statements are changed on their way: how a guard is switched off."""

    def __init__(self, conn: Connection, replacements: Mapping[str, str]) -> None:
        self._conn = conn
        self._replacements = replacements
        self.altered = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, query: str, *args: Any, **options: Any) -> Any:
        for text, other in self._replacements.items():
            if text in query:
                query = query.replace(text, other)
                self.altered += 1
        return self._conn.execute(query, *args, **options)


class Counting:
    """A connection that counts how often somebody waits for it."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._in_pipeline = False
        self.round_trips = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, *args: Any, **options: Any) -> Any:
        self.round_trips += not self._in_pipeline
        return self._conn.execute(*args, **options)

    @contextmanager
    def pipeline(self) -> Iterator[Any]:
        self.round_trips += 1
        self._in_pipeline = True
        try:
            with self._conn.pipeline() as pipeline:
                yield pipeline
        finally:
            self._in_pipeline = False


@contextmanager
def replaced_function(conn: Connection, name: str, definition: str) -> Iterator[None]:
    """Give one of the database's functions another definition for a while."""
    found = conn.execute("SELECT pg_get_functiondef(%b::text::regproc)", (name,)).fetchone()
    assert found is not None
    conn.execute(definition)
    try:
        yield
    finally:
        conn.execute(found[0])


@contextmanager
def without_constraint(conn: Connection, table: str, name: str) -> Iterator[None]:
    """Take a constraint off a table for a while; the table is emptied before it is put back."""
    found = conn.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %b", (name,)
    ).fetchone()
    assert found is not None
    on, called = sql.Identifier(table), sql.Identifier(name)
    conn.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(on, called))
    try:
        yield
    finally:
        conn.execute(sql.SQL("TRUNCATE {} CASCADE").format(on))
        add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
        conn.execute(add.format(on, called, sql.SQL(found[0])))


def kill(conn: psycopg.Connection[Any]) -> None:
    """End a connection's server process, as an administrator or a crash would."""
    with connect("default") as killer:
        killer.execute("SELECT pg_terminate_backend(%b::int)", (conn.info.backend_pid,))
