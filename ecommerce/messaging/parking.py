"""What becomes of a delivery: done, parked for another try, or dead.

A parked delivery holds back later ones of its stream for its handler only, which are parked behind
it. It is tried again when due, by whoever holds its partition; after its last attempt it is a dead
letter, and those behind it go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec

from . import burial
from .arrays import by_column, microseconds, unnested
from .burial import DESK
from .database import Connection
from .delivery import Delivery
from .errors import ContractError
from .log import Stored, read_at, stored
from .messages import Message
from .registry import Handler, handler_named
from .rows import Statement, table
from .tables import ServiceTables
from .wire import Answer

HeldBack = set[tuple[Any, ...]]
GIVE_UP = 10_000
"""An attempt number that is past every handler's last."""
MOST_RETRIED = 500
LOGGED = (
    "message_id",
    "cause_id",
    "handler",
    "outcome",
    "attempt",
    "waited_us",
    "ran_us",
    "policy",
)
"""What differs between the deliveries of a batch."""


def state(conn: Connection, services: Sequence[tuple[ServiceTables, Sequence[int]]]) -> Answer:
    """Ask the clock, and for each service which (handler, tenant, stream) have a parked delivery in
    some partitions, in one statement: what `stated` takes."""
    questions = "".join(
        f""", (SELECT json_agg(DISTINCT jsonb_build_array(handler, tenant, stream))::text
               FROM "{tables.parked._meta.db_table}" WHERE partition = ANY(%b::int[]))"""
        for tables, _ in services
    )
    sql = f"SELECT messaging_now(){questions}"
    return conn.execute(sql, [list(partitions) for _, partitions in services])


def stated(answer: Answer) -> tuple[datetime, list[HeldBack]]:
    """The clock, and what is held back in each service."""
    now, *held_back = answer.fetchone() or (None,)
    assert now is not None
    kind = list[tuple[str, str, str]]
    return now, [set(msgspec.json.decode(text or "[]", type=kind)) for text in held_back]


def settle(
    tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime, worker: str
) -> list[Statement]:
    """The statements that record what became of each delivery."""
    dead = [d for d in deliveries if d.given_up]
    alive = [d for d in deliveries if d.error is not None and not d.given_up]
    finished = [d.parked_id for d in deliveries if d.error is None and d.parked_id is not None]
    finished += [d.parked_id for d in dead if d.parked_id is not None]
    statements: list[Statement] = []
    if finished:
        sql = f'DELETE FROM "{tables.parked._meta.db_table}" WHERE id = ANY(%b::bigint[])'
        statements.append((sql, (finished,)))
    statements += _postpone(tables, [d for d in alive if d.error and d.parked_id is not None], now)
    statements += _park(tables, [d for d in alive if d.parked_id is None], now)
    statements += burial.bury(tables, dead, now, worker)
    statements += burial.resolve(tables, deliveries, now, worker)
    attempted = [d for d in deliveries if d.error != ""]
    if attempted:
        statements.append(_log(tables, attempted, now, worker))
    return statements


def record_effects(
    tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime, worker: str
) -> list[Statement]:
    """The statements that log calls, and bury those that failed for the last time."""
    dead = [d for d in deliveries if d.given_up]
    return [
        *burial.bury(tables, dead, now, worker),
        *burial.resolve(tables, deliveries, now, worker),
        _log(tables, deliveries, now, worker),
    ]


def due(conn: Connection, tables: ServiceTables, partitions: list[int]) -> list[list[Any]]:
    """The parked deliveries to try now: for each stream and handler whose first is due, all."""
    parked = tables.parked._meta.db_table
    rows = conn.execute(
        f"""WITH head AS (
                SELECT DISTINCT ON (handler, tenant, stream) handler, tenant, stream, due_at
                FROM "{parked}" WHERE partition = ANY(%b::int[])
                ORDER BY handler, tenant, stream, id)
            SELECT p.id, p.handler, p.source, p.position, p.attempts, p.tenant, p.stream
            FROM head JOIN "{parked}" p USING (handler, tenant, stream)
            WHERE head.due_at <= messaging_now() AND (p.source <> %b::text OR EXISTS (
                SELECT FROM "{tables.dead._meta.db_table}" d
                WHERE d.message_id = p.message_id AND d.handler = p.handler))
            ORDER BY p.handler, p.tenant, p.stream, p.id LIMIT %b::int""",
        (partitions, DESK, MOST_RETRIED),
    ).fetchall()
    return [list(group) for _, group in groupby(rows, key=lambda row: (row[1], row[5], row[6]))]


def fetch(
    conn: Connection, tables: ServiceTables, sources: Mapping[str, str], group: list[Any]
) -> tuple[list[Delivery], datetime]:
    """The messages of one group of parked deliveries, in the order they were parked."""
    positions: dict[str, list[int]] = {}
    for _, _, source, position, *_ in group:
        if source != DESK:
            positions.setdefault(source, []).append(position)
    found = {
        (source, row[0]): stored(source, row)
        for source, wanted in positions.items()
        for row in conn.execute(*read_at(sources[source], wanted)).fetchall()
    }
    from_desk = [parked_id for parked_id, _, source, *_ in group if source == DESK]
    letters = burial.letters(conn, tables, from_desk)
    (now,) = conn.execute("SELECT messaging_now()").fetchone() or (None,)
    assert now is not None
    deliveries = []
    for parked_id, handler, source, position, attempts, *_ in group:
        message = letters[parked_id] if source == DESK else found[source, position]
        deliveries.append(_parked(message, handler_named(handler), attempts + 1, parked_id))
    return deliveries, now


def unreadable(
    message: Stored, listeners: Sequence[Handler], error: ContractError
) -> list[Delivery]:
    """Deliveries of a message that no code can read: trying again will not help."""
    return [
        Delivery(
            message, Message(), handler, GIVE_UP, error=f"unreadable: {error}", reason="unreadable"
        )
        for handler in listeners
    ]


def _parked(message: Stored, handler: Handler, attempt: int, parked_id: int) -> Delivery:
    try:
        return Delivery(message, message.message(), handler, attempt, parked_id)
    except ContractError as error:
        (delivery,) = unreadable(message, [handler], error)
        delivery.parked_id = parked_id
        return delivery


def _park(tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime) -> list[Statement]:
    if not deliveries:
        return []
    parked = table(tables.parked)
    columns = [column for column in parked.columns if column.name != "id"]
    rows = [
        (
            d.handler.name,
            d.stored.source,
            d.stored.position,
            d.stored.message_id,
            d.stored.tenant,
            d.stored.stream,
            d.stored.partition,
            d.attempt if d.error else 0,
            _due(d, now),
            d.error or "waits behind an earlier one of its stream",
            now,
        )
        for d in deliveries
    ]
    return [parked.insert_values(rows, columns)]


def _postpone(
    tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime
) -> list[Statement]:
    sql = f"""UPDATE "{tables.parked._meta.db_table}"
        SET attempts = %b::int, due_at = %b::timestamptz, error = %b::text WHERE id = %b::bigint"""
    return [(sql, (d.attempt, _due(d, now), d.error, d.parked_id)) for d in deliveries]


def _due(delivery: Delivery, now: datetime) -> datetime:
    if not delivery.error:
        return now
    return now + timedelta(seconds=delivery.retry_after[delivery.attempt - 1])


def _log(
    tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime, worker: str
) -> Statement:
    log = table(tables.delivery)
    kinds = {name: log.by_name[name].array for name in LOGGED}
    rows = [
        (
            d.stored.message_id,
            d.stored.cause_id,
            d.handler.name,
            "done" if d.error is None else "failed",
            d.attempt if d.error is None else min(d.attempt, len(d.retry_after) + 1),
            max(microseconds(now - (d.due_at or d.stored.recorded_at)), 0),
            d.ran_us,
            d.decision.trail,
        )
        for d in deliveries
    ]
    names = ", ".join(LOGGED)
    sql = f"""
        INSERT INTO {log.name} ({names}, worker, delivered_at)
        SELECT {names}, %b::text, %b::timestamptz FROM {unnested(kinds.items())}"""
    return sql, [worker, now, *by_column(kinds.values(), rows)]
