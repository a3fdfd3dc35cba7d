"""What must hold whenever the shop comes to rest, whatever happened before."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module

from ecommerce.messaging import projections
from ecommerce.messaging.database import connect
from ecommerce.messaging.services import ServiceConfig, services
from ecommerce.messaging.worker import Worker

PATIENCE = 30.0


def settle(*labels: str) -> None:
    """Let workers of these services, or of all, do everything that can be done now."""
    Worker(labels or None).drain(PATIENCE)


def findings(*, failures_of: Collection[str] = ()) -> list[str]:
    """Everything that is not as it must be; `failures_of` are handlers that were meant to fail."""
    found = [str(each) for each in projections.differences()]
    for aggregate in projections.aggregates():
        found += [str(each) for each in projections.fold_differences(aggregate)]
    for config in services():
        found += [*_broken_invariants(config), *_failures(config, failures_of), *_waiting(config)]
    return found


def _broken_invariants(config: ServiceConfig) -> Iterator[str]:
    queries = import_module(f"{config.name}.queries")
    with connect(config.database) as conn:
        for name, sql in queries.INVARIANTS:
            rows = conn.execute(sql).fetchall()
            if rows:
                yield f"{config.label}: not true: {name}: {rows[:5]}"


def _failures(config: ServiceConfig, expected: Collection[str]) -> Iterator[str]:
    with connect(config.database) as conn:
        for kind, model in (("parked", config.tables.parked), ("dead", config.tables.dead)):
            rows = conn.execute(
                f'SELECT handler, error FROM "{model._meta.db_table}" '
                "WHERE NOT handler = ANY(%b::text[])",
                (list(expected),),
            ).fetchall()
            yield from (f"{kind}: {handler}: {error}" for handler, error in rows)


def _waiting(config: ServiceConfig) -> Iterator[str]:
    """Calls that were due and that nobody has made."""
    with connect(config.database) as conn:
        rows = conn.execute(
            f'SELECT handler, error FROM "{config.tables.effect._meta.db_table}" '
            "WHERE due_at < messaging_now() - interval '1 s'"
        ).fetchall()
        yield from (f"not performed: {handler} {error}" for handler, error in rows)
