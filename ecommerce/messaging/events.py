"""The services' logs as event stores: append to a stream, read one, read them all in order, follow.

`append` is for streams that no aggregate has. An aggregate's events are returned by its handler:
there the row, which the bus or the batch has locked, already keeps two writers apart, and the
events and the row commit together.

Readers of a whole log stop at its horizon (see `log`), so they miss nothing that commits late.
"""

from __future__ import annotations

import heapq
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from . import log, searching, wakeup
from .context import Context
from .database import Connection, connection
from .errors import MessagingError, VersionConflict, WiringError
from .log import ENVELOPE, Outgoing, Stored, outgoing
from .messages import Message
from .models import uuid7
from .services import ServiceConfig, by_database, service
from .transactions import rollback

FETCHED = 500
"""Events read at a time."""
POLL_SECONDS = 0.2
PATIENCE = 15.0
"""Seconds after which a writer that holds its log must have been ended by the database."""
REFUSED = "MF001"


class Event(Stored, frozen=True, kw_only=True):
    """An event as it stands in a log; `version` is its place in its stream."""

    version: int


@dataclass(frozen=True)
class Wanted:
    """Which events of a log; those that fit everything that is given."""

    tenant: str | None = None
    stream: str | None = None
    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> tuple[str, list[Any]]:
        """As SQL, and its values."""
        fits = {
            "tenant = %b": self.tenant,
            "stream = %b": self.stream,
            "name = %b": self.name,
            "recorded_at >= %b::timestamptz": self.since,
            "recorded_at <= %b::timestamptz": self.until,
        }
        chosen = {sql: value for sql, value in fits.items() if value is not None}
        return " AND ".join(["version IS NOT NULL", *chosen]), list(chosen.values())


class LogHeld(MessagingError):
    """A writer keeps a log's horizon back. The database ends such a one; then read again."""


def append(
    events: Sequence[Message],
    *,
    expected: int,
    tenant: str,
    actor: str,
    correlation_id: uuid.UUID | None = None,
) -> int:
    """Append events to their stream, which must have version `expected`, 0 when it is new.

    Returns the stream's new version. Raises VersionConflict, and stores nothing, when the stream
    has another version by then; WiringError for events that are not of one stream.
    """
    written = _of_one_stream(events, _root(tenant, actor, correlation_id))
    owner, stream = service(written[0].contract.service), written[0].stream
    new = expected + len(written)
    table = owner.tables.log._meta.db_table
    with connection(owner.database) as conn:
        try:
            with conn.pipeline():
                conn.execute("BEGIN")
                conn.execute(*log.append(owner.tables, written))
                # After the INSERT: what others have committed before it is counted as well.
                conn.execute(
                    f"""SELECT messaging_require(max(version) = %b::int, 'version')
                        FROM "{table}" WHERE tenant = %b AND stream = %b""",
                    (new, tenant, stream),
                )
                conn.execute("COMMIT")
        except psycopg.Error as error:
            rollback(conn)
            if error.sqlstate == REFUSED or isinstance(error, psycopg.errors.UniqueViolation):
                raise _conflict(conn, table, tenant, stream, expected) from None
            raise
    wakeup.wake(owner.database)
    return new


def read_stream(
    label: str, tenant: str, stream: str, *, first: int = 1, last: int | None = None
) -> Iterator[Event]:
    """The events of one stream in a service's log, from version `first` to `last`, in order."""
    config = service(label)
    while True:
        with connection(config.database) as conn:
            found = _select(
                conn, config,
                "tenant = %b AND stream = %b AND version >= %b::int "
                "AND (%b::int IS NULL OR version <= %b::int)",
                [tenant, stream, first, last, last],
                f"version LIMIT {FETCHED}",
            )  # fmt: skip
        yield from found
        if len(found) < FETCHED:
            return
        first = found[-1].version + 1


def read(label: str, wanted: Wanted = Wanted(), *, after: int = 0) -> Iterator[Event]:
    """The events of a service's log after a position, in order, up to its horizon as of now.

    Raises LogHeld when a writer keeps the horizon back for long.
    """
    config = service(label)
    after = max(after, _beginning(config, wanted))
    return _between(config, wanted, after, horizon(label))


def newest(label: str, wanted: Wanted, limit: int) -> list[Event]:
    """The last events of a service's log, in order."""
    config = service(label)
    fits, values = wanted.conditions()
    upto = horizon(label)
    with connection(config.database) as conn:
        return _select(
            conn, config,
            f"position > %b::bigint AND position <= %b::bigint AND {fits}",
            [_beginning(config, wanted), upto, *values],
            f"position DESC LIMIT {int(limit)}",
        )[::-1]  # fmt: skip


def follow(labels: Iterable[str], wanted: Wanted = Wanted()) -> Iterator[Event]:
    """The events of services' logs as they are committed, `merged`, for ever; from `wanted.since`
    on, or from now."""
    reached = {}
    for config in map(service, labels):
        reached[config] = _beginning(config, wanted) if wanted.since else horizon(config.label)
    while True:
        ahead = _horizons(reached)
        yield from merged(
            _between(config, wanted, after, ahead[config]) for config, after in reached.items()
        )
        if ahead == reached:
            time.sleep(POLL_SECONDS)
        reached = ahead


def merged(logs: Iterable[Iterable[Event]]) -> Iterator[Event]:
    """The events of several logs: each log in its own order, between them by time."""
    return heapq.merge(*logs, key=lambda event: event.recorded_at)


def horizon(label: str) -> int:
    """The position up to which nothing is missing from a service's log. Raises LogHeld."""
    config = service(label)
    table = config.tables.log._meta.db_table
    until = time.monotonic() + PATIENCE
    while not (reached := _horizons({config: 0})[config]):
        with connection(config.database) as conn:
            if conn.execute(f'SELECT FROM "{table}" LIMIT 1').fetchone() is None:
                return 0
        if time.monotonic() > until:
            raise LogHeld(f"a writer has held {table} for {PATIENCE:.0f} s: see pg_locks")
    return reached


def _root(tenant: str, actor: str, correlation_id: uuid.UUID | None) -> Context:
    request, now = correlation_id or uuid7(), datetime.now(UTC)
    return Context(
        tenant=tenant, actor=actor, message_id=request, correlation_id=request, cause_id=None,
        traceparent=None, recorded_at=now, now=now,
    )  # fmt: skip


def _of_one_stream(events: Sequence[Message], cause: Context) -> list[Outgoing]:
    written = [outgoing(event, cause) for event in events]
    places = {(item.contract.service, item.stream) for item in written}
    if len(places) != 1 or any(item.contract.kind != "event" for item in written):
        raise WiringError(f"append events of one stream at a time, not of {sorted(places)}")
    return written


def _conflict(
    conn: Connection, table: str, tenant: str, stream: str, expected: int
) -> VersionConflict:
    (found,) = conn.execute(
        f'SELECT coalesce(max(version), 0) FROM "{table}" WHERE tenant = %b AND stream = %b',
        (tenant, stream),
    ).fetchone() or (0,)
    return VersionConflict(
        f"{stream} has version {found}, not {expected}: read it again", version=found
    )


def _horizons(known: Mapping[ServiceConfig, int]) -> dict[ServiceConfig, int]:
    reached: dict[ServiceConfig, int] = {}
    for alias, own in by_database(known).items():
        logs = {c.tables.log._meta.db_table: c for c in own}
        with connection(alias) as conn:
            ahead = log.horizons(conn, list(logs), {name: known[c] for name, c in logs.items()})
        reached |= {logs[name]: position for name, position in ahead.items()}
    return reached


def _beginning(config: ServiceConfig, wanted: Wanted) -> int:
    """A position before everything that is wanted."""
    if wanted.since is None:
        return 0
    return searching.position_before(config.tables.log, wanted.since - searching.SLACK)


def _between(config: ServiceConfig, wanted: Wanted, after: int, upto: int) -> Iterator[Event]:
    fits, values = wanted.conditions()
    while after < upto:
        with connection(config.database) as conn:
            found = _select(
                conn, config,
                f"position > %b::bigint AND position <= %b::bigint AND {fits}",
                [after, upto, *values],
                f"position LIMIT {FETCHED}",
            )  # fmt: skip
        yield from found
        after = found[-1].position if len(found) == FETCHED else upto


def _select(
    conn: Connection, config: ServiceConfig, where: str, values: Sequence[Any], order: str
) -> list[Event]:
    columns = ("position", "version", *ENVELOPE, "recorded_at")
    rows = conn.execute(
        f"""SELECT {", ".join(columns)} FROM "{config.tables.log._meta.db_table}"
            WHERE {where} ORDER BY {order}""",
        values,
    ).fetchall()
    return [Event(**dict(zip(columns, row, strict=True)), source=config.label) for row in rows]
