"""One message from all sides: what it says, where it was delivered, its cause and its effects.

Ids are found without an index of their own: they begin with their time, and positions grow with
time, so a few steps lead to the stretch of a log in which one can be. Correlations and deliveries
have an index. Everything is asked within one tenant, with one statement for a database.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from .asking import ask_all
from .messages import contract_named
from .reasons import headline
from .searching import NEAR, SLACK
from .services import ServiceConfig

Row = TypeVar("Row", bound=msgspec.Struct)

MOST = 200
"""Messages of one list."""
PLACES = ("log", "effect", "timer", "dead")
"""Where a message can be: sent, or still to be performed or sent, or given up."""


class Message(msgspec.Struct, frozen=True):
    """A message as it is stored, in one of PLACES."""

    service: str
    place: str
    message_id: uuid.UUID
    name: str
    stream: str
    recorded_at: datetime
    actor: str
    correlation_id: uuid.UUID
    cause_id: uuid.UUID | None
    contract: int
    payload: str
    personal: str | None
    person: str | None

    @property
    def kind(self) -> str:
        return "effect" if self.place == "effect" else contract_named(self.name).kind


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to deliver a message to a handler; times in milliseconds."""

    service: str
    message_id: uuid.UUID
    cause_id: uuid.UUID | None
    handler: str
    worker: str
    outcome: str
    attempt: int
    waited: float
    ran: float
    policy: str | None
    delivered_at: datetime


class Parked(msgspec.Struct, frozen=True):
    """A parked delivery; one that waits behind another has not been tried."""

    service: str
    message_id: uuid.UUID
    handler: str
    stream: str
    partition: int
    attempts: int
    due_at: datetime
    error: str

    @property
    def headline(self) -> str:
        return headline(self.error)


class Stuck(msgspec.Struct, frozen=True):
    """A delivery that failed: `parked` until `due_at`, or a dead letter with its state."""

    service: str
    handler: str
    state: str
    attempts: int
    due_at: datetime | None
    error: str
    letter_id: uuid.UUID | None

    @property
    def headline(self) -> str:
        return headline(self.error)


def message(tenant: str, message_id: uuid.UUID) -> Message | None:
    """The message with this id. None also for one that is in no log, such as a person's command
    or a call that was made: see `attempts`."""
    between = made(message_id)
    found = _messages(tenant, between, "message_id = %(id)b::uuid", id=message_id)
    if not found and (late := attempts([message_id])):  # sent later than it was made: a timer
        first = min(each.delivered_at - timedelta(milliseconds=each.waited) for each in late)
        between = first - SLACK, max(each.delivered_at for each in late) + SLACK
        found = _messages(tenant, between, "message_id = %(id)b::uuid", id=message_id)
    return min(found, key=lambda each: PLACES.index(each.place), default=None)


def correlated(tenant: str, correlation_id: uuid.UUID) -> list[Message]:
    """The messages of one request, in the order of time, at most MOST."""
    where = "correlation_id = %(id)b::uuid"
    rows = _all(
        Message, lambda config: _branch(config, "log", where), tenant=tenant, id=correlation_id
    )
    return sorted(rows, key=lambda each: each.recorded_at)[:MOST]


def newest(tenant: str, limit: int) -> list[Message]:
    """A tenant's last messages, as far as they are among the last MOST of a log."""

    def last(config: ServiceConfig) -> str:
        sequence = f'"{config.tables.log._meta.db_table}_position_seq"'
        return _branch(config, "log", f"position > (SELECT last_value - {MOST} FROM {sequence})")

    rows = _all(Message, last, tenant=tenant)
    return sorted(rows, key=lambda each: each.recorded_at, reverse=True)[:limit]


def caused_by(
    tenant: str, message_id: uuid.UUID, between: tuple[datetime, datetime]
) -> list[Message]:
    """What a message caused, as far as it was recorded in this time."""
    return _messages(tenant, between, "cause_id = %(id)b::uuid", id=message_id)


def attempts(message_ids: Sequence[uuid.UUID]) -> list[Attempt]:
    """The deliveries of messages in all services, in the order of time. The delivery log knows no
    tenants: ask for messages that are known to be one's own."""

    def delivered(config: ServiceConfig) -> str:
        return f"""
            SELECT '{config.label}', message_id, cause_id, handler, worker, outcome, attempt,
                   waited_us / 1000.0::float8, ran_us / 1000.0::float8, policy, delivered_at
            FROM "{config.tables.delivery._meta.db_table}"
            WHERE message_id = ANY(%(ids)b::uuid[])"""

    rows = _all(Attempt, delivered, ids=list(message_ids))
    return sorted(rows, key=lambda each: each.delivered_at)


def stuck(tenant: str, message_id: uuid.UUID) -> list[Stuck]:
    """The deliveries of a message that failed and are not over."""

    def failed(config: ServiceConfig) -> str:
        return f"""
            SELECT '{config.label}', handler, 'parked', attempts, due_at, error, NULL::uuid
            FROM "{config.tables.parked._meta.db_table}"
            WHERE tenant = %(tenant)b::text AND message_id = %(id)b::uuid
            UNION ALL
            SELECT '{config.label}', handler, state, attempts, due_at, error, id
            FROM "{config.tables.dead._meta.db_table}"
            WHERE tenant = %(tenant)b::text AND message_id = %(id)b::uuid"""

    return _all(Stuck, failed, tenant=tenant, id=message_id)


def parked(tenant: str, limit: int) -> list[Parked]:
    """A tenant's deliveries that failed, or wait behind such a one, those due next first."""

    def held_back(config: ServiceConfig) -> str:
        return f"""
            SELECT '{config.label}', message_id, handler, stream, partition::int, attempts::int,
                   due_at, error
            FROM "{config.tables.parked._meta.db_table}" WHERE tenant = %(tenant)b::text
            ORDER BY due_at LIMIT {limit}"""

    rows = _all(Parked, held_back, tenant=tenant)
    return sorted(rows, key=lambda each: each.due_at)[:limit]


def made(message_id: uuid.UUID) -> tuple[datetime, datetime]:
    """About when a message with this id was recorded; never, for an id without a time."""
    if message_id.version != 7:
        never = datetime.min.replace(tzinfo=UTC)
        return never, never
    at = datetime.fromtimestamp((message_id.int >> 80) / 1000, UTC)
    return at - SLACK, at + SLACK


def _messages(
    tenant: str, between: tuple[datetime, datetime], where: str, **values: Any
) -> list[Message]:
    """Messages of this time, wherever they are. Only logs are so long that it matters."""

    def everywhere(config: ServiceConfig) -> str:
        log = config.tables.log._meta.db_table
        stretch = f"""position > {_position(log, "begin", "low")}
                      AND position <= {_position(log, "end", "high")}"""
        return " UNION ALL ".join(
            f"({_branch(config, place, f'{where} AND {stretch}' if place == 'log' else where)})"
            for place in PLACES
        )

    begin, end = between
    rows = _all(Message, everywhere, tenant=tenant, begin=begin, end=end, **values)
    return sorted(rows, key=lambda each: each.recorded_at)


def _all(row: type[Row], part: Callable[[ServiceConfig], str], **values: Any) -> list[Row]:
    return [row(*found) for found in ask_all(part, values)]


def _branch(config: ServiceConfig, place: str, where: str) -> str:
    table = getattr(config.tables, place)._meta.db_table
    return f"""
        SELECT '{config.label}', '{place}', message_id, name, stream, recorded_at, actor,
               correlation_id, cause_id, contract, payload, personal, person
        FROM "{table}" WHERE tenant = %(tenant)b::text AND {where} LIMIT {MOST}"""


def _position(log: str, instant: str, end: str) -> str:
    """About where in a log an instant is, found by halving."""
    return f"""(
        WITH RECURSIVE narrowed(low, high) AS (
            SELECT 0::bigint, coalesce((SELECT max(position) FROM "{log}"), 0)
            UNION ALL
            SELECT CASE WHEN before THEN middle ELSE low END, CASE WHEN before THEN high ELSE middle END
            FROM (SELECT low, high, (low + high) / 2 AS middle, coalesce((
                      SELECT recorded_at < %({instant})b::timestamptz FROM "{log}"
                      WHERE position >= (low + high) / 2 ORDER BY position LIMIT 1), false) AS before
                  FROM narrowed WHERE high - low > {NEAR}) AS halved)
        SELECT {end} FROM narrowed ORDER BY high - low LIMIT 1)"""
