"""Reading and appending the services' logs.

A log is append-only: it is the service's event store and its outbox. A reader keeps a position in
it and must not pass one that commits late. Therefore a writer holds the log's shared advisory lock
from just before its INSERT, which draws the positions, until COMMIT; and a reader asks
`messaging_horizon`, which holds that lock exclusively for an instant, how far it may read.
Neither waits for writers that have not reached their INSERT, nor for any other table's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings

from .arrays import by_column, unnested
from .context import Context
from .database import Connection
from .messages import Contract, Message, contract_of, decode, encode, partition_of
from .models import uuid7
from .rows import Statement
from .tables import ServiceTables
from .wire import Answer

ENVELOPE = (
    "message_id",
    "tenant",
    "stream",
    "partition",
    "name",
    "contract",
    "payload",
    "personal",
    "person",
    "correlation_id",
    "cause_id",
    "actor",
    "traceparent",
)
ENVELOPE_KINDS = dict.fromkeys(ENVELOPE, "text[]") | {
    "message_id": "uuid[]",
    "correlation_id": "uuid[]",
    "cause_id": "uuid[]",
    "partition": "int[]",
    "contract": "int[]",
}
PLACED = {"ordinal": "int[]", "place": "int[]"}
"""What `append` gives each message besides: which of its stream it is, and its place among all."""
Appended = tuple[str, int, int]
"""A log, and the first and last position of messages that a commit appended without a gap."""
PARTITIONS: int = settings.MESSAGING_PARTITIONS  # a lookup there takes longer than all else here
NOWHERE = 2**63 - 1
"""Stands for the position of a partition that the reader does not hold."""


class Stored(msgspec.Struct, frozen=True):
    """A message as it stands in a log, inbox, effect or timer row: ENVELOPE, and where and when."""

    position: int
    message_id: uuid.UUID
    tenant: str
    stream: str
    partition: int
    name: str
    contract: int
    payload: str
    personal: str | None
    person: str | None
    correlation_id: uuid.UUID
    cause_id: uuid.UUID | None
    actor: str
    traceparent: str | None
    recorded_at: datetime
    source: str = ""
    _decoded: Message | None = None

    def message(self) -> Message:
        """The message itself. Raises ContractError when the code cannot read it."""
        if self._decoded is None:
            decoded = decode(self.name, self.contract, self.payload, self.personal)
            msgspec.structs.force_setattr(self, "_decoded", decoded)  # many handlers want it
            return decoded
        return self._decoded

    def context(self, now: datetime) -> Context:
        """The context that handlers of this message see."""
        return Context(
            tenant=self.tenant,
            actor=self.actor,
            message_id=self.message_id,
            correlation_id=self.correlation_id,
            cause_id=self.cause_id,
            traceparent=self.traceparent,
            recorded_at=self.recorded_at,
            now=now,
        )


class Outgoing(msgspec.Struct, frozen=True):
    """A message that is about to be written, with what it inherits from its cause."""

    message: Message
    contract: Contract
    cause: Context
    message_id: uuid.UUID
    stream: str
    partition: int

    def envelope(self) -> tuple[Any, ...]:
        """The values of the ENVELOPE columns."""
        encoded = encode(self.message)
        return (
            self.message_id,
            self.cause.tenant,
            self.stream,
            self.partition,
            self.contract.name,
            self.contract.version,
            encoded.payload,
            encoded.personal,
            encoded.person,
            self.cause.correlation_id,
            self.cause.message_id,
            self.cause.actor,
            self.cause.traceparent,
        )


def outgoing(message: Message, cause: Context) -> Outgoing:
    """Give a message its id and its cause."""
    contract = contract_of(message)
    stream = contract.stream_of(message)
    partition = partition_of(cause.tenant, stream, PARTITIONS)
    return Outgoing(message, contract, cause, uuid7(), stream, partition)


def append(tables: ServiceTables, messages: Sequence[Outgoing]) -> Statement:
    """The statement that appends messages to a log; it must be the last before COMMIT.

    Events get the next versions of their streams. It returns the positions, which are drawn for the
    sorted rows, when the lock is held.
    """
    log = tables.log._meta.db_table
    order: dict[tuple[str, str], int] = {}
    rows = []
    for place, item in enumerate(messages):
        ordinal = None
        if item.contract.kind == "event":
            stream = (item.cause.tenant, item.stream)
            ordinal = order[stream] = order.get(stream, 0) + 1
        rows.append((*item.envelope(), ordinal, place))
    names, columns = ", ".join(ENVELOPE), ENVELOPE_KINDS | PLACED
    sql = f"""
        WITH writer AS MATERIALIZED (
            SELECT pg_advisory_xact_lock_shared(messaging_log_key(%b::text))
        )
        INSERT INTO "{log}" ({names}, recorded_at, version)
        SELECT {names}, (SELECT messaging_now()), CASE WHEN ordinal IS NOT NULL THEN ordinal + coalesce(
            (SELECT max(o.version) FROM "{log}" o WHERE o.tenant = u.tenant AND o.stream = u.stream), 0
        ) END
        FROM writer, {unnested(columns.items())} ORDER BY place RETURNING position"""
    return sql, [log, *by_column(columns.values(), rows)]


def insert_with_due_time(
    table: str, extra: dict[str, str], rows: Sequence[tuple[Sequence[Any], Sequence[Any]]]
) -> Statement:
    """The statement that writes messages to an effect or timer table: rows of an envelope and more.

    `extra` names the table's further columns with their types; each row brings their values. Nothing
    becomes due before it is written: whoever looks for what is due relies on that.
    """
    columns = ENVELOPE_KINDS | {name: f"{kind}[]" for name, kind in extra.items()}
    names = ", ".join(columns)
    chosen = names.replace("due_at", "greatest(due_at, now)")
    sql = f"""
        INSERT INTO "{table}" ({names})
        SELECT {chosen} FROM {unnested(columns.items())},
            (SELECT messaging_now() OFFSET 0) AS clock(now)"""
    values = [(*envelope, *more) for envelope, more in rows]
    return sql, by_column(columns.values(), values)


def horizons(conn: Connection, logs: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """How far each log or inbox can be read, at most two round trips: one looks which have grown at
    all, the other asks for the horizons of those."""
    return dict(known) | horizons_of(conn, grown(heads(conn, logs), logs, known), known)


def heads(conn: Connection, logs: Sequence[str]) -> Answer:
    """Ask, within a pipeline or without, how many positions of each log have been drawn."""
    drawn = ", ".join(
        f"coalesce(pg_sequence_last_value('\"{log}_position_seq\"'), 0)" for log in logs
    )
    return conn.execute(f"SELECT {drawn}")


def grown(drawn: Answer, logs: Sequence[str], known: Mapping[str, int]) -> list[str]:
    """The logs that hold, or will hold, more than is known."""
    ends = drawn.fetchone() or ()
    return [log for log, end in zip(logs, ends, strict=True) if end > known.get(log, 0)]


def horizons_of(conn: Connection, logs: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """The horizons of these logs, in one round trip; each is found in a transaction of its own."""
    if not logs:
        return {}
    with conn.pipeline():
        found = {}
        for log in logs:
            sql = "SELECT messaging_horizon(%b::text, %b::bigint)"
            found[log] = conn.execute(sql, (log, known.get(log, 0)))
            conn.sync()
    return {log: answer.fetchall()[0][0] for log, answer in found.items()}


def horizons_after(known: Mapping[str, int], appended: Iterable[Appended]) -> dict[str, int]:
    """The horizons after commits that are known: one whose positions come next to a horizon moves
    it, since nobody else's can lie before them. So the database need not be asked."""
    reached = dict(known)
    for log, first, last in sorted(appended):
        if first == reached.get(log, 0) + 1:
            reached[log] = last
    return reached


def without_gap(log: str, positions: Sequence[int]) -> list[Appended]:
    """What a commit appended, if nobody else's messages can lie in between."""
    if positions[-1] - positions[0] + 1 != len(positions):
        return []
    return [(log, positions[0], positions[-1])]


def read(log: str, after: Sequence[int], upto: int, names: Sequence[str], limit: int) -> Statement:
    """The statement that reads a log or inbox, in order, for several partitions at once.

    `after` holds the position of each partition by its number, NOWHERE for those not wanted.
    """
    columns = ", ".join(ENVELOPE)
    sql = f"""
        SELECT position, {columns}, recorded_at FROM "{log}"
        WHERE position > %b::bigint AND position <= %b::bigint
          AND position > (%b::bigint[])[partition + 1] AND name = ANY(%b::text[])
        ORDER BY position LIMIT %b::int"""
    return sql, (min(after), upto, list(after), list(names), limit)


def read_at(log: str, positions: Sequence[int]) -> Statement:
    """The statement that reads single entries of a log or inbox."""
    columns = ", ".join(ENVELOPE)
    sql = f"""
        SELECT position, {columns}, recorded_at FROM "{log}"
        WHERE position = ANY(%b::bigint[]) ORDER BY position"""
    return sql, (list(positions),)


def stored(source: str, row: Sequence[Any]) -> Stored:
    """One row of `read` as a message of that source."""
    return Stored(*(*row, source))
