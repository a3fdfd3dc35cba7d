"""Messages sent for later, until they are due."""

from __future__ import annotations

from .database import Connection
from .log import ENVELOPE
from .tables import ServiceTables

MOST = 500
"""Timers sent by one sweep."""


def send_due(conn: Connection, tables: ServiceTables) -> int:
    """Send the timers of a service that are due; return how many there were."""
    log, timer = tables.log._meta.db_table, tables.timer._meta.db_table
    names = ", ".join(ENVELOPE)
    with conn.transaction(), conn.pipeline():
        conn.execute("SELECT pg_advisory_xact_lock_shared(messaging_log_key(%b::text))", (log,))
        sent = conn.execute(
            f"""WITH due AS (
                    DELETE FROM "{timer}" WHERE id IN (
                        SELECT id FROM "{timer}" WHERE due_at <= messaging_now()
                        ORDER BY due_at LIMIT %b::int FOR UPDATE SKIP LOCKED)
                    RETURNING {names}, due_at)
                INSERT INTO "{log}" ({names}, recorded_at)
                SELECT {names}, (SELECT messaging_now()) FROM due ORDER BY due_at RETURNING 1""",
            (MOST,),
        )
    return sent.rowcount
