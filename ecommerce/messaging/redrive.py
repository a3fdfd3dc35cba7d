"""Sending dead letters out again, by workers: what the desk or a policy has made due.

A delivery becomes a parked one, so it runs under lease and fence, and later messages of its stream
wait for it; its one attempt ends at the desk or as done (`burial`). A call becomes an intent again,
with the message, and so the provider's key, that it always had. The desk decides under the
letter's row lock, and only a letter that is at the desk; here, whoever takes its due time away has
sent it.
"""

from __future__ import annotations

from .burial import DESK
from .database import Connection
from .errors import ContractError
from .log import ENVELOPE, Stored
from .parking import GIVE_UP
from .registry import handlers
from .services import ServiceConfig
from .tables import ServiceTables

MOST = 100
"""Letters sent out by one sweep: a long queue must not come all at once after a pause."""
MOST_REVIVED = 5
"""How often a letter that could not be read is tried again by itself."""
KEEP_RESOLVED_DAYS = 90


def send_due(conn: Connection, service: ServiceConfig) -> int:
    """Send out the letters of a service that are due; return how many there were.

    Letters whose handler this code does not have are left for code that does.
    """
    tables = service.tables
    dead, effect, parked, trail = (
        f'"{model._meta.db_table}"'
        for model in (tables.dead, tables.effect, tables.parked, tables.dead_action)
    )
    calls = [h.name for h in handlers(service.label) if h.kind == "performs"]
    deliveries = [h.name for h in handlers(service.label) if h.kind != "performs"]
    names = ", ".join(ENVELOPE)
    sent = conn.execute(
        f"""WITH due AS (
                SELECT id, state FROM {dead}
                WHERE due_at <= messaging_now() AND handler = ANY(%b::text[])
                ORDER BY due_at, recorded_at LIMIT %b::int FOR UPDATE SKIP LOCKED),
            sent AS (
                UPDATE {dead} d SET due_at = NULL, redrives = d.redrives + 1,
                    state = 'retrying', state_at = messaging_now()
                FROM due WHERE d.id = due.id RETURNING d.*),
            calls AS (
                INSERT INTO {effect} (id, handler, due_at, attempts, claims, error, redriven,
                                      {names}, recorded_at)
                SELECT message_id, handler, messaging_now(), 0, 0, '', true, {names}, recorded_at
                FROM sent WHERE handler = ANY(%b::text[]) ON CONFLICT DO NOTHING),
            deliveries AS (
                INSERT INTO {parked} (handler, source, position, message_id, tenant, stream,
                                      partition, attempts, due_at, error, parked_at)
                SELECT handler, %b::text, 0, message_id, tenant, stream, partition, %b::int,
                       messaging_now(), 'sent out again', messaging_now()
                FROM sent WHERE handler <> ALL(%b::text[])
                ORDER BY recorded_at, message_id ON CONFLICT DO NOTHING),
            by_itself AS (
                INSERT INTO {trail} (dead_id, action, actor, note, done_at)
                SELECT id, 'retry', 'policy', '', messaging_now() FROM due WHERE state = 'waiting')
            SELECT count(*) FROM sent""",
        (deliveries + calls, MOST, calls, DESK, GIVE_UP - 1, calls),
    ).fetchone()
    return sent[0] if sent else 0


def keep_house(conn: Connection, service: ServiceConfig) -> None:
    """What a worker does when it begins, and every hour."""
    revive_readable(conn, service)
    forget_resolved(conn, service.tables)


def revive_readable(conn: Connection, service: ServiceConfig) -> int:
    """Make those letters due that could not be read when they died, and can be by this code.

    A worker asks when it starts: after a deployment nobody has to remember them.
    """
    dead = f'"{service.tables.dead._meta.db_table}"'
    names = ", ".join(ENVELOPE)
    rows = conn.execute(
        f"""SELECT id, {names}, recorded_at FROM {dead}
            WHERE state = 'waiting' AND reason = 'unreadable' AND due_at IS NULL
              AND redrives < %b::int AND handler = ANY(%b::text[])""",
        (MOST_REVIVED, [handler.name for handler in handlers(service.label)]),
    ).fetchall()
    readable = [letter for letter, *envelope in rows if _readable(envelope)]
    return conn.execute(
        f"UPDATE {dead} SET due_at = messaging_now() "
        "WHERE id = ANY(%b::uuid[]) AND state = 'waiting'",
        (readable,),
    ).rowcount


def forget_resolved(conn: Connection, tables: ServiceTables) -> None:
    """Delete letters that were resolved long ago, with their trails."""
    conn.execute(
        f"""WITH gone AS (
                DELETE FROM "{tables.dead._meta.db_table}" WHERE state = 'resolved'
                  AND state_at < messaging_now() - make_interval(days => %b::int) RETURNING id)
            DELETE FROM "{tables.dead_action._meta.db_table}"
            WHERE dead_id IN (SELECT id FROM gone)""",
        (KEEP_RESOLVED_DAYS,),
    )


def _readable(envelope: list[object]) -> bool:
    *values, recorded_at = envelope
    fields = dict(zip(ENVELOPE, values, strict=True))
    try:
        Stored(position=0, **fields, recorded_at=recorded_at).message()  # type: ignore[arg-type]
    except ContractError:
        return False
    return True
