"""Between databases: copying what a service subscribes to from another's log into its inbox.

In one database this is not needed, since a service reads the other's log itself. The inbox is read
like a log; a message enters it once, however often it is copied. The cursor's row lock makes sure
that one worker copies at a time, and goes with the transaction when that worker does.

`Relay` copies through connections to both databases. Where a worker cannot reach both, a broker
carries the same messages between the same two steps, `unread` and `store`: see `transports`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .arrays import by_column, unnested
from .database import Connection
from .log import ENVELOPE, ENVELOPE_KINDS, horizons
from .registry import handlers
from .services import ServiceConfig
from .transactions import transaction

BATCH = 1000
COLUMNS = ", ".join(ENVELOPE)

Copied = Sequence[tuple[Any, ...]]
"""Messages to be copied: position, recorded_at, and the columns of ENVELOPE."""


@dataclass(frozen=True)
class Relay:
    """One source's log and one target's inbox, each with a connection to its database."""

    source: ServiceConfig
    target: ServiceConfig
    source_conn: Connection
    target_conn: Connection
    names: Collection[str]

    def copy(self) -> int:
        """Copy the next messages of the wanted names; return how many were read.

        Nothing when the target has run handlers that this code lacks: it may want more names.
        """
        begin(self.target_conn, self.target, self.source.label)
        with transaction(self.target_conn):
            cursors = self.target.tables.relay._meta.db_table
            row = self.target_conn.execute(
                f"""SELECT position FROM "{cursors}" WHERE source = %b AND NOT EXISTS (
                        SELECT FROM "{self.target.tables.handler._meta.db_table}"
                        WHERE name <> ALL(%b::text[])) FOR UPDATE SKIP LOCKED""",
                (self.source.label, [handler.name for handler in handlers(self.target.label)]),
            ).fetchone()
            return 0 if row is None else self._copy_after(row[0])

    def _copy_after(self, position: int) -> int:
        log = self.source.tables.log._meta.db_table
        horizon = horizons(self.source_conn, [log], {log: position})[log]
        if horizon <= position:
            return 0
        rows = unread(self.source_conn, self.source, self.names, position, horizon, BATCH)
        reached = rows[-1][0] if len(rows) == BATCH else horizon
        store(self.target_conn, self.target, self.source.label, rows, reached)
        return len(rows)


def begin(conn: Connection, target: ServiceConfig, source: str) -> None:
    """Make sure that there is a cursor to be locked.

    ON CONFLICT alone would wait for whoever is just moving the cursor.
    """
    cursors = target.tables.relay._meta.db_table
    conn.execute(
        f"""INSERT INTO "{cursors}" (source, position) SELECT %b::text, 0
            WHERE NOT EXISTS (SELECT FROM "{cursors}" WHERE source = %b) ON CONFLICT DO NOTHING""",
        (source, source),
    )


def unread(
    conn: Connection,
    source: ServiceConfig,
    names: Collection[str],
    after: int,
    horizon: int,
    limit: int,
) -> Copied:
    """The next messages of these names in a source's log."""
    return conn.execute(
        f"""SELECT position, recorded_at, {COLUMNS} FROM "{source.tables.log._meta.db_table}"
            WHERE position > %b::bigint AND position <= %b::bigint AND name = ANY(%b::text[])
            ORDER BY position LIMIT %b::int""",
        (after, horizon, list(names), limit),
    ).fetchall()


def store(conn: Connection, target: ServiceConfig, source: str, rows: Copied, reached: int) -> None:
    """Put messages into the inbox and move the cursor, whose row the caller has locked."""
    inbox = target.tables.inbox._meta.db_table
    with conn.pipeline():
        conn.execute(
            f"""UPDATE "{target.tables.relay._meta.db_table}"
                SET position = %b::bigint WHERE source = %b""",
            (reached, source),
        )
        if not rows:
            return
        columns = {"source_position": "bigint[]", "recorded_at": "timestamptz[]"} | ENVELOPE_KINDS
        conn.execute("SELECT pg_advisory_xact_lock_shared(messaging_log_key(%b::text))", (inbox,))
        conn.execute(
            f"""INSERT INTO "{inbox}" ({COLUMNS}, source_position, recorded_at, source)
                SELECT {COLUMNS}, source_position, recorded_at, %b::text
                FROM {unnested(columns.items())}
                ORDER BY source_position ON CONFLICT (message_id) DO NOTHING""",
            (source, *by_column(columns.values(), rows)),
        )
