"""Between databases: copying what a service subscribes to from another's log into its inbox.

In one database this is not needed, since a service reads the other's log itself. The inbox is read
like a log; a message enters it once, however often it is copied. The cursor's row lock makes sure
that one worker copies at a time, and goes with the transaction when that worker does.
"""

from __future__ import annotations

from collections.abc import Sequence

from .database import Connection
from .drain import rollback
from .log import ENVELOPE, ENVELOPE_ARRAYS
from .services import ServiceConfig

BATCH = 1000


def copy(
    source_conn: Connection,
    target_conn: Connection,
    source: ServiceConfig,
    target: ServiceConfig,
    names: Sequence[str],
) -> int:
    """Copy the next messages of these names; return how many were new."""
    log = source.tables.log._meta.db_table
    inbox = target.tables.inbox._meta.db_table
    relay = target.tables.relay._meta.db_table
    target_conn.execute(
        f'INSERT INTO "{relay}" (source, position) VALUES (%b, 0) ON CONFLICT DO NOTHING',
        (source.label,),
    )
    target_conn.execute("BEGIN")
    try:
        row = target_conn.execute(
            f'SELECT position FROM "{relay}" WHERE source = %b FOR UPDATE SKIP LOCKED',
            (source.label,),
        ).fetchone()
        copied = (
            0
            if row is None
            else _copy_after(
                row[0], source_conn, target_conn, log, inbox, relay, source.label, names
            )
        )
        target_conn.execute("COMMIT")
    except BaseException:
        rollback(target_conn)
        raise
    return copied


def _copy_after(
    position: int,
    source_conn: Connection,
    target_conn: Connection,
    log: str,
    inbox: str,
    relay: str,
    source: str,
    names: Sequence[str],
) -> int:
    columns = ", ".join(ENVELOPE)
    (horizon,) = source_conn.execute(
        "SELECT messaging_horizon(%b::text, %b::bigint)", (log, position)
    ).fetchone() or (position,)
    if horizon <= position:
        return 0
    rows = source_conn.execute(
        f"""SELECT position, {columns} FROM "{log}"
            WHERE position > %b::bigint AND position <= %b::bigint AND name = ANY(%b::text[])
            ORDER BY position LIMIT %b::int""",
        (position, horizon, list(names), BATCH),
        binary=True,
    ).fetchall()
    reached = rows[-1][0] if len(rows) == BATCH else horizon
    with target_conn.pipeline():
        target_conn.execute(
            f'UPDATE "{relay}" SET position = %b::bigint WHERE source = %b', (reached, source)
        )
        if rows:
            positions, *envelopes = (list(column) for column in zip(*rows, strict=True))
            target_conn.execute(
                "SELECT pg_advisory_xact_lock_shared(messaging_log_key(%b::text))", (inbox,)
            )
            target_conn.execute(
                f"""INSERT INTO "{inbox}" ({columns}, source_position, source, recorded_at)
                    SELECT {columns}, source_position, %b::text, (SELECT messaging_now())
                    FROM unnest({ENVELOPE_ARRAYS}, %b::bigint[])
                        WITH ORDINALITY AS u({columns}, source_position, place)
                    ORDER BY place ON CONFLICT (message_id) DO NOTHING""",
                (source, *envelopes, positions),
            )
    return len(rows)
