"""What must always hold, as questions whose answer is the list of offenders.

`checks_of` gives those of one service: the kernel's own over its messaging tables, the service's
(`INVARIANTS` in its `queries`), and that its aggregates are the fold of their streams. Messages are
on their way all the time, so a check that finds something is asked again before it counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import msgspec
from django.conf import settings
from django.db import connections
from django.utils.module_loading import module_has_submodule

from .folds import fold_differences
from .models import Aggregate, ReadModel
from .projections import aggregates, compare, groups, read_models
from .services import ServiceConfig, services
from .subscriptions import subscribed_names

SHOWN = 5
"""Offenders that a finding keeps."""
PAUSE = 0.5
"""Seconds before a check is asked again."""


@dataclass(frozen=True)
class Check:
    """A sentence that must hold in an area, and how to find what breaks it."""

    area: str
    name: str
    offenders: Callable[[], Sequence[Any]]


@dataclass(frozen=True)
class Offender:
    """A row that breaks a check, as text. One of the machinery, which all share, has no tenant."""

    text: str
    tenant: str | None

    def __str__(self) -> str:
        return self.text


class Finding(msgspec.Struct, frozen=True):
    """What a check found: nothing, or some offenders, of which a few are shown."""

    area: str
    name: str
    offending: int
    shown: list[str]

    @property
    def ok(self) -> bool:
        return not self.offending


# In braces: the service's tables; a minute is more than any sweep, lease or batch takes.
KERNEL: list[tuple[str, str]] = [
    (
        "no delivery was done twice",
        """
        SELECT message_id, handler, count(*) AS times FROM {delivery}
        WHERE outcome = 'done' GROUP BY message_id, handler HAVING count(*) > 1
        """,
    ),
    (
        "no parked delivery has been due for a minute",
        """
        SELECT handler, tenant, stream, due_at, attempts, error FROM (
            SELECT DISTINCT ON (handler, tenant, stream) * FROM {parked}
            ORDER BY handler, tenant, stream, id
        ) AS first WHERE due_at < messaging_now() - interval '60 s'
        """,
    ),
    (
        "there are no dead letters",
        """
        SELECT handler, tenant, stream, message_id, dead_at, state, reason, error FROM {dead}
        WHERE state NOT IN ('resolved', 'given_up')
        """,
    ),
    (
        "no effect has been due for a minute",
        """
        SELECT handler, tenant, stream, due_at, attempts, error FROM {effect}
        WHERE due_at < messaging_now() - interval '60 s'
        """,
    ),
    (
        "no timer has been due for a minute",
        """
        SELECT name, tenant, stream, due_at FROM {timer}
        WHERE due_at < messaging_now() - interval '60 s'
        """,
    ),
    (
        "no schedule has been due for ten minutes",
        """
        SELECT name, rule, due_at, ran_at FROM {schedule}
        WHERE due_at < messaging_now() - interval '10 min'
        """,
    ),
    (
        "the versions of a stream have no gap",
        """
        SELECT tenant, stream, count(*) AS events, max(version) AS version FROM {log}
        WHERE version IS NOT NULL GROUP BY tenant, stream HAVING count(*) <> max(version)
        """,
    ),
]

LEFT_BEHIND = """
    SELECT l.name, l.tenant, l.stream, l.recorded_at, p.owner
    FROM "{source}" AS l JOIN "{partition}" AS p ON p.number = l.partition
    WHERE l.position > (SELECT min(coalesce((positions->>%s)::bigint, 0)) FROM "{partition}")
      AND l.position > coalesce((p.positions->>%s)::bigint, 0)
      AND l.name = ANY(%s) AND l.recorded_at < messaging_now() - interval '60 s'
    ORDER BY l.position
"""
NOT_RELAYED = """
    SELECT name, tenant, stream, recorded_at FROM "{source}"
    WHERE position > %s AND name = ANY(%s) AND recorded_at < messaging_now() - interval '60 s'
    ORDER BY position
"""


def run(check: Check, patience: float = 0.0) -> Finding:
    """Ask until nothing offends, or for so many seconds. A check that fails is an offender."""
    until = time.monotonic() + patience
    while True:
        try:
            found = check.offenders()
        except Exception as error:  # noqa: BLE001  the other checks must still be asked
            found = [f"{type(error).__name__}: {error}"]
        if not found or time.monotonic() >= until:
            shown = [str(row) for row in found[:SHOWN]]
            return Finding(check.area, check.name, len(found), shown)
        time.sleep(PAUSE)


def checks_of(config: ServiceConfig) -> list[Check]:
    """All checks of one service."""
    kernel = [_sql(config, name, sql.format(**_tables(config))) for name, sql in KERNEL]
    area = config.label
    return [
        *kernel,
        Check(area, "there are as many partitions as set", partial(_partitions, config)),
        Check(area, "no message has been left unread for a minute", partial(_unread, config)),
        *(_sql(config, name, sql) for name, sql in _declared(config)),
        *(_folds(model) for model in aggregates(area)),
    ]


def rebuilds(config: ServiceConfig) -> list[Check]:
    """That each read model of a service is what the events give; reads all events."""
    return [_rebuild(group) for group in groups(read_models(config.label))]


def ask(alias: str, sql: str, values: Sequence[Any] | None = None) -> list[Offender]:
    """The rows that a statement finds. Whose they are its column `tenant` says."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        names = [column.name for column in cursor.description or ()]
        return [
            Offender(
                ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)),
                row[names.index("tenant")] if "tenant" in names else None,
            )
            for row in cursor.fetchall()
        ]


def _sql(config: ServiceConfig, name: str, sql: str) -> Check:
    return Check(config.label, name.rstrip("."), partial(ask, config.database, sql))


def _tables(config: ServiceConfig) -> dict[str, str]:
    return {name: f'"{model._meta.db_table}"' for name, model in vars(config.tables).items()}


def _declared(config: ServiceConfig) -> Iterable[tuple[str, str]]:
    if not module_has_submodule(config.module, "queries"):
        return ()
    queries = import_module(f"{config.name}.queries")
    declared: Iterable[tuple[str, str]] = getattr(queries, "INVARIANTS", ())
    return declared


def _folds(model: type[Aggregate]) -> Check:
    name = f"{model.__name__} rows are the fold of their streams"
    return Check(model._meta.app_label, name, partial(fold_differences, model))


def _rebuild(group: Sequence[type[ReadModel]]) -> Check:
    names = ", ".join(model.__name__ for model in group)

    def differing() -> list[Any]:
        return [each for found in compare(group).differences.values() for each in found]

    return Check(group[0]._meta.app_label, f"{names}: rows are what the events give", differing)


def _partitions(config: ServiceConfig) -> list[Offender]:
    partitions = config.tables.partition._meta.db_table
    sql = f'SELECT count(*) AS partitions FROM "{partitions}" HAVING count(*) <> %s'
    return ask(config.database, sql, [settings.MESSAGING_PARTITIONS])


def _unread(target: ServiceConfig) -> list[Offender]:
    found: list[Offender] = []
    partition = target.tables.partition._meta.db_table
    for source in services():
        names = subscribed_names(target.label, source.label)
        log = source.tables.log._meta.db_table
        if source.database == target.database:
            sql = LEFT_BEHIND.format(source=log, partition=partition)
            found += ask(target.database, sql, [source.label, source.label, names])
        else:
            relay = target.tables.relay._default_manager.using(target.database)
            cursor = relay.filter(source=source.label).values_list("position", flat=True).first()
            found += ask(source.database, NOT_RELAYED.format(source=log), [cursor or 0, names])
    sql = LEFT_BEHIND.format(source=target.tables.inbox._meta.db_table, partition=partition)
    found += ask(target.database, sql, ["inbox", "inbox", subscribed_names(target.label, "inbox")])
    return found
