"""How long something waits that nobody takes: calls and timers that are due, messages for another
database.

A thread that is dead or stuck, a topic that no worker takes, a broker or a database that is away: each
shows as an age here, whatever the cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .database import connection
from .services import ServiceConfig, services
from .subscriptions import subscribed_names

STRETCH = 1000
"""Messages behind the cursor that are looked at for the first that waits."""
STATEMENT_TIMEOUT = "2s"


def oldest_call(service: ServiceConfig) -> str:
    """An expression: for how many seconds the first intent of a call has been due.

    A claim moves that into the future, and so does a failure: what is due is what nobody takes.
    """
    tables = service.tables
    return f"""(SELECT extract(epoch FROM messaging_now() - min(first.due_at))::float8
        FROM "{tables.partition._meta.db_table}" AS own, LATERAL (
            SELECT due_at FROM "{tables.effect._meta.db_table}"
            WHERE partition = own.number AND due_at <= (SELECT messaging_now())
            ORDER BY due_at LIMIT 1) AS first)"""


def oldest_timer(service: ServiceConfig) -> str:
    """An expression: for how many seconds the first timer has been due."""
    return f"""(SELECT extract(epoch FROM messaging_now() - min(due_at))::float8
        FROM "{service.tables.timer._meta.db_table}" WHERE due_at <= (SELECT messaging_now()))"""


def crossings() -> Iterator[tuple[ServiceConfig, ServiceConfig]]:
    """Sources and the targets in other databases to which their messages are relayed."""
    for source in services():
        for target in services():
            if source.database != target.database and subscribed_names(target.label, source.label):
                yield source, target


def oldest_unrelayed(source: ServiceConfig, target: ServiceConfig) -> float:
    """For how many seconds the first message waits in a source's log that the target's inbox lacks.

    Whatever carries messages moves the target's cursor, past those that it does not want, too: when
    nothing else stands in the stretch, what lies behind it may wait as long as its end. Raises
    psycopg.Error or PoolTimeout when one of the two databases does not tell in time.
    """
    cursors, log = target.tables.relay._meta.db_table, source.tables.log._meta.db_table
    reached = _one(
        target.database, f'SELECT position FROM "{cursors}" WHERE source = %b', [source.label]
    )
    sql = f"""SELECT extract(epoch FROM messaging_now() - coalesce(
            min(recorded_at) FILTER (WHERE name = ANY(%b::text[])),
            CASE WHEN count(*) = %b::int THEN max(recorded_at) END))::float8
        FROM (SELECT name, recorded_at FROM "{log}"
              WHERE position > %b::bigint ORDER BY position LIMIT %b::int) AS stretch"""
    names = subscribed_names(target.label, source.label)
    age = _one(source.database, sql, [names, STRETCH, reached or 0, STRETCH])
    return max(age or 0.0, 0.0)


def _one(alias: str, sql: str, values: list[Any]) -> Any:
    with connection(alias) as conn, conn.transaction():
        conn.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        row = conn.execute(sql, values).fetchone()
    return row and row[0]
