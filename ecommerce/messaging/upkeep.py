"""What a worker does for its tables now and then, beside its work."""

from __future__ import annotations

from collections.abc import Sequence

from . import canary, redrive, schedules
from .database import Connection
from .idempotency import forget_expired
from .leases import forget_silent
from .services import ServiceConfig

DELIVERY_LOG_DAYS = 30
SAMPLE = 10
"""A tenth of the rows that autovacuum looks at, which comes soon: ANALYZE competes with the work."""


def begin_and_forget(conn: Connection, chosen: Sequence[ServiceConfig]) -> None:
    """Make the delivery logs' coming partitions; drop old ones, answers that expired, and workers
    that are gone, also those that could not sign off.

    When a worker begins, and then every hour, the schedules are entered and a ping is sent.
    """
    for service in chosen:
        schedules.enter(conn, service.label, service.tables)
        canary.begin(conn, service)
        redrive.keep_house(conn, service)
        conn.execute(*forget_expired(service.tables))
        conn.execute(*forget_silent(service.tables))
        days = service.tables.delivery._meta.db_table
        with conn.transaction():  # one worker at a time: several may begin at once
            conn.execute("SELECT pg_advisory_xact_lock(messaging_log_key(%b::text))", (days,))
            conn.execute(
                "SELECT messaging_keep_days(%b::text, 2, %b::int)", (days, DELIVERY_LOG_DAYS)
            )


def count_anew(conn: Connection, chosen: Sequence[ServiceConfig]) -> None:
    """Let PostgreSQL count anew what has become five times as long, which also renews all plans
    made before.

    Autovacuum comes by once a minute. A shop that has just begun would find its first orders by the
    plans for empty tables until then, hundreds of times slower.
    """
    grown = conn.execute(
        """SELECT relid::regclass::text FROM pg_stat_user_tables
           JOIN pg_class ON pg_class.oid = relid
           WHERE pg_stat_user_tables.relname LIKE ANY(%b::text[])
             AND n_live_tup > 50 + 4 * greatest(reltuples, 0)
             AND relpersistence = 'p' AND pg_has_role(relowner, 'USAGE')""",
        ([f"{service.label}\\_%" for service in chosen],),
    ).fetchall()
    if grown:
        tables = ", ".join(name for (name,) in grown)
        with conn.transaction():
            conn.execute(f"SET LOCAL default_statistics_target = {SAMPLE}", prepare=False)
            conn.execute(f"ANALYZE (SKIP_LOCKED) {tables}", prepare=False)
