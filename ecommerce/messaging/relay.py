"""Between databases: copying what a service subscribes to from another's log into its inbox.

In one database this is not needed, since a service reads the other's log itself. The inbox is read
like a log; a message enters it once, however often it is copied. The cursor's row lock makes sure
that one worker copies at a time, and goes with the transaction when that worker does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .database import Connection
from .log import ENVELOPE, ENVELOPE_ARRAYS, horizons
from .services import ServiceConfig
from .transactions import rollback

BATCH = 1000
COLUMNS = ", ".join(ENVELOPE)


@dataclass(frozen=True)
class Relay:
    """One source's log and one target's inbox, each with a connection to its database."""

    source: ServiceConfig
    target: ServiceConfig
    source_conn: Connection
    target_conn: Connection
    names: Sequence[str]

    def copy(self) -> int:
        """Copy the next messages of the wanted names; return how many were read."""
        cursors = self.target.tables.relay._meta.db_table
        self.target_conn.execute(
            f'INSERT INTO "{cursors}" (source, position) VALUES (%b, 0) ON CONFLICT DO NOTHING',
            (self.source.label,),
        )
        self.target_conn.execute("BEGIN")
        try:
            row = self.target_conn.execute(
                f'SELECT position FROM "{cursors}" WHERE source = %b FOR UPDATE SKIP LOCKED',
                (self.source.label,),
            ).fetchone()
            copied = 0 if row is None else self._copy_after(row[0])
            self.target_conn.execute("COMMIT")
        except BaseException:
            rollback(self.target_conn)
            raise
        return copied

    def _copy_after(self, position: int) -> int:
        log = self.source.tables.log._meta.db_table
        horizon = horizons(self.source_conn, [log], {log: position})[log]
        if horizon <= position:
            return 0
        rows = self.source_conn.execute(
            f"""SELECT position, recorded_at, {COLUMNS} FROM "{log}"
                WHERE position > %b::bigint AND position <= %b::bigint AND name = ANY(%b::text[])
                ORDER BY position LIMIT %b::int""",
            (position, horizon, list(self.names), BATCH),
            binary=True,
        ).fetchall()
        self._store(rows, rows[-1][0] if len(rows) == BATCH else horizon)
        return len(rows)

    def _store(self, rows: Sequence[tuple[Any, ...]], reached: int) -> None:
        tables = self.target.tables
        inbox = tables.inbox._meta.db_table
        with self.target_conn.pipeline():
            self.target_conn.execute(
                f'UPDATE "{tables.relay._meta.db_table}" SET position = %b::bigint WHERE source = %b',
                (reached, self.source.label),
            )
            if not rows:
                return
            positions, recorded, *envelopes = (list(column) for column in zip(*rows, strict=True))
            self.target_conn.execute(
                "SELECT pg_advisory_xact_lock_shared(messaging_log_key(%b::text))", (inbox,)
            )
            self.target_conn.execute(
                f"""INSERT INTO "{inbox}" ({COLUMNS}, source_position, recorded_at, source)
                    SELECT {COLUMNS}, source_position, recorded_at, %b::text
                    FROM unnest({ENVELOPE_ARRAYS}, %b::bigint[], %b::timestamptz[])
                        WITH ORDINALITY AS u({COLUMNS}, source_position, recorded_at, place)
                    ORDER BY place ON CONFLICT (message_id) DO NOTHING""",
                (self.source.label, *envelopes, positions, recorded),
            )
