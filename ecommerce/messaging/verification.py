"""Whether a service's log can be trusted: its streams, its rows, and what they make.

Reads every row of the log, and folds every stream from its first event, without snapshots.
"""

from __future__ import annotations

from collections.abc import Iterator

from .database import connection
from .errors import ContractError
from .events import horizon
from .folds import fold_differences
from .messages import decode
from .projections import aggregates
from .services import ServiceConfig

FETCHED = 1000
"""Rows that are in memory at a time."""


def problems(config: ServiceConfig) -> Iterator[str]:
    """What is wrong with a service's log, each in a sentence without personal data."""
    yield from _gaps(config)
    yield from _unreadable(config)
    yield from _not_folds(config)


def _gaps(config: ServiceConfig) -> Iterator[str]:
    log = config.tables.log._meta.db_table
    with connection(config.database) as conn:
        found = conn.execute(
            f"""SELECT tenant, stream, count(*), min(version), max(version) FROM "{log}"
                WHERE version IS NOT NULL GROUP BY tenant, stream
                HAVING min(version) <> 1 OR count(*) <> max(version) OR count(DISTINCT version) <> count(*)
                ORDER BY tenant, stream"""
        ).fetchall()
    for tenant, stream, count, first, last in found:
        yield f"{tenant} {stream} has {count} events with versions from {first} to {last}"


def _unreadable(config: ServiceConfig) -> Iterator[str]:
    log = config.tables.log._meta.db_table
    after, upto = 0, horizon(config.label)
    while True:
        with connection(config.database) as conn:
            found = conn.execute(
                f"""SELECT position, name, contract, payload, personal FROM "{log}"
                    WHERE position > %b::bigint AND position <= %b::bigint
                    ORDER BY position LIMIT %b::int""",
                (after, upto, FETCHED),
            ).fetchall()
        for position, *columns in found:
            try:
                decode(*columns)
            except ContractError as error:
                yield f"position {position} cannot be read: {error}"
        if len(found) < FETCHED:
            return
        after = found[-1][0]


def _not_folds(config: ServiceConfig) -> Iterator[str]:
    for model in aggregates(config.label):
        try:
            found = fold_differences(model, from_snapshots=False)
        except ContractError as error:
            yield f"{model._meta.label} cannot be folded: {error}"
            continue
        for row in found:
            which = f"{row.model} {row.tenant}/{row.key[0]}"
            if row.columns:
                yield f"{which} is not what its events give in {', '.join(row.columns)}"
            else:
                yield f"{which} has events and no row"
