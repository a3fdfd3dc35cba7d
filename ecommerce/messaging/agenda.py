"""What comes by the clock: timers, deadlines, schedules, and the canaries' pings.

One statement for a database. Lists are read along the indexes of their due times; a tenant's are
looked for among the next STRETCH of all.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec
from django.conf import settings

from .asking import ask_all
from .canary import NAME
from .deadlines import deadlines
from .schedules import NO_SHOP
from .services import ServiceConfig, services
from .tenancy import EVERY, acting_for

STRETCH = 2000
PINGS = 10
"""Of each service."""

Row = TypeVar("Row", bound=msgspec.Struct)


class Due(msgspec.Struct, frozen=True):
    """A timer or a call put off, to be sent or made at `due_at`."""

    service: str
    message_id: uuid.UUID
    name: str
    stream: str
    due_at: datetime


class Expiry(msgspec.Struct, frozen=True):
    """A row whose deadline has not passed."""

    service: str
    model: str
    key: str
    due_at: datetime


class Planned(msgspec.Struct, frozen=True):
    """A schedule, when it is due, and when it sent a message last."""

    service: str
    name: str
    rule: str
    due_at: datetime
    ran_at: datetime | None


class Ping(msgspec.Struct, frozen=True):
    """One ping of a canary; `took` is in seconds, None until it is answered."""

    service: str
    asked_at: datetime
    took: float | None


def timers(tenant: str, limit: int) -> list[Due]:
    """The messages of a tenant that are sent next."""
    return sorted(_all(Due, _timers, tenant, limit), key=_due)[:limit]


def calls(tenant: str, limit: int) -> list[Due]:
    """The calls of a tenant that are made next; those under way are due when their claim lapses."""
    return sorted(_all(Due, _calls, tenant, limit), key=_due)[:limit]


def expiries(tenant: str, limit: int) -> list[Expiry]:
    """The deadlines of a tenant's rows that pass next."""
    return sorted(_all(Expiry, _expiries, tenant, limit), key=_due)[:limit]


def planned() -> list[Planned]:
    """All schedules, by name."""
    return sorted(_all(Planned, _planned, NO_SHOP, 0), key=lambda each: each.name)


def pings() -> dict[str, list[Ping]]:
    """The last pings of each service, the newest first."""
    found: dict[str, list[Ping]] = {config.label: [] for config in services()}
    for ping in _all(Ping, _pings, NO_SHOP, PINGS):
        found[ping.service].append(ping)
    return found


def _due(each: Due | Expiry) -> datetime:
    return each.due_at


def _all(
    row: type[Row], statement: Callable[[ServiceConfig], str], tenant: str, limit: int
) -> list[Row]:
    """What the statements of all services find."""
    values = {"tenant": tenant, "limit": limit, "canary": f"canary/{NAME}"}
    with acting_for(EVERY):
        rows = ask_all(statement, values)
    return [row(*found) for found in rows]


def _timers(config: ServiceConfig) -> str:
    table = config.tables.timer._meta.db_table
    return f"""
        SELECT '{config.label}', message_id, name, stream, due_at FROM (
            SELECT * FROM "{table}" ORDER BY due_at LIMIT {STRETCH}) AS next
        WHERE tenant = %(tenant)b::text ORDER BY due_at LIMIT %(limit)b::int"""


def _calls(config: ServiceConfig) -> str:
    """The index of due times begins with the partition."""
    partitions = settings.MESSAGING_PARTITIONS
    return f"""
        SELECT '{config.label}', message_id, name, stream, due_at
        FROM generate_series(0, {partitions - 1}) AS own(number), LATERAL (
            SELECT * FROM "{config.tables.effect._meta.db_table}" WHERE partition = own.number
            ORDER BY due_at LIMIT {STRETCH // partitions}) AS next
        WHERE tenant = %(tenant)b::text ORDER BY due_at LIMIT %(limit)b::int"""


def _expiries(config: ServiceConfig) -> str:
    parts = []
    for each in deadlines():
        meta = each.model._meta
        if meta.app_label == config.label:
            key = " || '/' || ".join(f'"{column}"' for column in each.model.key_columns())
            parts.append(f"""(
                SELECT '{config.label}', '{meta.verbose_name}', {key}::text, due_at FROM (
                    SELECT *, "{each.column}" AS due_at FROM "{meta.db_table}"
                    WHERE "{each.column}" IS NOT NULL ORDER BY "{each.column}" LIMIT {STRETCH}) AS next
                WHERE tenant = %(tenant)b::text ORDER BY due_at LIMIT %(limit)b::int)""")
    return " UNION ALL ".join(parts)


def _planned(config: ServiceConfig) -> str:
    table = config.tables.schedule._meta.db_table
    return f"""SELECT '{config.label}', name, rule, due_at, ran_at FROM "{table}" """


def _pings(config: ServiceConfig) -> str:
    """Pings are the events of one stream, and their answers its deliveries."""
    log, delivery = config.tables.log._meta.db_table, config.tables.delivery._meta.db_table
    return f"""
        SELECT '{config.label}', asked.recorded_at, (
            SELECT ((min(waited_us) + min(ran_us)) / 1e6)::float8 FROM "{delivery}"
            WHERE message_id = asked.message_id AND outcome = 'done'
              AND delivered_at BETWEEN asked.recorded_at AND asked.recorded_at + interval '1 day')
        FROM (SELECT message_id, recorded_at FROM "{log}"
              WHERE tenant = %(tenant)b::text AND stream = %(canary)b::text AND version IS NOT NULL
              ORDER BY version DESC LIMIT %(limit)b::int) AS asked
        ORDER BY asked.recorded_at DESC"""
