"""Dead letters, as the commit of a batch or of an answer sees them.

A letter is buried in the commit that gives its delivery up, with why and of what. One that the desk
has sent out again (see `redrive`) comes back here: done, its letter is resolved in the same commit;
given up once more, it is the same letter, which waits again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from .database import Connection
from .delivery import Delivery
from .log import ENVELOPE, Stored, stored
from .models import uuid7
from .reasons import cause_of, headline, reason_of
from .rows import Statement, table
from .tables import ServiceTables

DESK = "dead"
"""The source of a delivery that comes from the desk: the table of dead letters."""
BURIED = ("attempts", "reason", "error", "dead_at", "state", "state_at", "cause")
"""What a letter gets each time that it is given up."""


def bury(
    tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime, worker: str
) -> list[Statement]:
    """The statements that store deliveries that were given up, as letters that wait."""
    if not deliveries:
        return []
    for delivery in deliveries:
        delivery.reason = delivery.reason or reason_of(delivery.error or "")
    return [
        _store(tables, deliveries, now),
        *_automatic(tables, deliveries),
        _noted(tables, deliveries, "died", now, worker, map(_obituary, deliveries)),
    ]


def resolve(
    tables: ServiceTables, deliveries: Iterable[Delivery], now: datetime, worker: str
) -> list[Statement]:
    """The statements that close the letters of deliveries that the desk sent out and that are
    done."""
    done = [d for d in deliveries if d.error is None and d.stored.source == DESK]
    if not done:
        return []
    sql = f"""UPDATE "{tables.dead._meta.db_table}" d
        SET state = 'resolved', state_at = %b::timestamptz
        FROM unnest(%b::uuid[], %b::text[]) AS u(message_id, handler)
        WHERE d.message_id = u.message_id AND d.handler = u.handler AND d.state = 'retrying'"""
    resolved = _noted(tables, done, "resolved", now, worker, [""] * len(done))
    return [(sql, (now, *_keys(done))), resolved]


def letters(conn: Connection, tables: ServiceTables, parked: Sequence[int]) -> dict[int, Stored]:
    """The messages of parked deliveries that came from the desk, by the ids they are parked by."""
    if not parked:
        return {}
    columns = ", ".join(f"d.{name}" for name in ENVELOPE)
    rows = conn.execute(
        f"""SELECT p.id, {columns}, d.recorded_at FROM "{tables.parked._meta.db_table}" p
            JOIN "{tables.dead._meta.db_table}" d USING (message_id, handler)
            WHERE p.id = ANY(%b::bigint[])""",
        (list(parked),),
    ).fetchall()
    return {row[0]: stored(DESK, row) for row in rows}


def _store(tables: ServiceTables, deliveries: Sequence[Delivery], now: datetime) -> Statement:
    dead = table(tables.dead)
    names = (*ENVELOPE, "recorded_at", "id", "handler", *BURIED)
    rows = [
        (
            *(getattr(d.stored, name) for name in (*ENVELOPE, "recorded_at")),
            uuid7(),
            d.handler.name,
            min(d.attempt, len(d.retry_after) + 1),
            d.reason,
            d.error,
            now,
            "waiting",
            now,
            cause_of(d.handler.name, d.reason, d.error or "", d.stored),
        )
        for d in deliveries
    ]
    sql, values = dead.insert_values(rows, [dead.by_name[name] for name in names])
    again = ", ".join(f"{name} = excluded.{name}" for name in BURIED)
    return f"{sql} ON CONFLICT (message_id, handler) DO UPDATE SET {again}", values


def _automatic(tables: ServiceTables, deliveries: Sequence[Delivery]) -> list[Statement]:
    """Set when a letter is sent out again by itself, if its reason has a policy and the letter has
    not been sent out that often yet."""
    sql = f"""UPDATE "{tables.dead._meta.db_table}" d
        SET due_at = messaging_now() + make_interval(secs => (%b::float8[])[d.redrives + 1])
        FROM unnest(%b::uuid[], %b::text[]) AS u(message_id, handler)
        WHERE d.message_id = u.message_id AND d.handler = u.handler"""
    waits = settings.MESSAGING_RETRY_DEAD
    return [
        (sql, ([float(seconds) for seconds in waits[reason]], *_keys(concerned)))
        for reason in sorted({d.reason for d in deliveries} & waits.keys())
        if (concerned := [d for d in deliveries if d.reason == reason])
    ]


def _noted(
    tables: ServiceTables,
    deliveries: Sequence[Delivery],
    action: str,
    now: datetime,
    worker: str,
    notes: Iterable[str],
) -> Statement:
    """The statement that adds a line to the letters' trails."""
    sql = f"""INSERT INTO "{tables.dead_action._meta.db_table}"
            (dead_id, action, actor, note, done_at)
        SELECT d.id, %b::text, %b::text, u.note, %b::timestamptz
        FROM unnest(%b::uuid[], %b::text[], %b::text[]) AS u(message_id, handler, note)
        JOIN "{tables.dead._meta.db_table}" d
          ON d.message_id = u.message_id AND d.handler = u.handler"""
    return sql, (action, worker, now, *_keys(deliveries), list(notes))


def _obituary(delivery: Delivery) -> str:
    return f"{delivery.reason}: {headline(delivery.error or '')}"


def _keys(deliveries: Sequence[Delivery]) -> tuple[list[Any], list[Any]]:
    return [d.stored.message_id for d in deliveries], [d.handler.name for d in deliveries]
