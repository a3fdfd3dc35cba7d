"""Where the fold of a long stream may begin, other than at its first event.

Whoever folds a stream leaves a snapshot behind at every EVERY-th version. It is a cache: deleting
one costs time only. A snapshot of another *shape* is never used; the shape is made from the
aggregate's code and columns and from the versions of its events' contracts.

Streams with personal data have none, so a person who is forgotten is forgotten in one place.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from .database import Connection
from .messages import Contract, contracts
from .models import Aggregate
from .services import service

EVERY = 1000
"""Events between two snapshots: what decision 19 measured to be worth a row."""

Stream = tuple[str, str]
"""Tenant and stream."""


@dataclass(frozen=True)
class Taken:
    """What the events up to a version made of an aggregate."""

    stream: Stream
    version: int
    state: str


def newest(
    conn: Connection, model: type[Aggregate], streams: Sequence[Stream], upto: int | None
) -> dict[Stream, tuple[int, Aggregate]]:
    """The last usable snapshot of each stream, not after version `upto`: its version and row."""
    if not possible(model):
        return {}
    found = conn.execute(
        f"""SELECT u.tenant, u.stream, s.version, s.state
            FROM unnest(%b::text[], %b::text[]) AS u(tenant, stream) CROSS JOIN LATERAL (
                SELECT version, state FROM "{_table(model)}" s
                WHERE s.tenant = u.tenant AND s.stream = u.stream AND s.shape = %b
                  AND (%b::int IS NULL OR s.version <= %b::int)
                ORDER BY s.version DESC LIMIT 1) AS s""",
        ([t for t, _ in streams], [s for _, s in streams], shape_of(model), upto, upto),
    ).fetchall()
    return {
        (tenant, stream): (version, _row(model, tenant, state))
        for tenant, stream, version, state in found
    }


def due(model: type[Aggregate], version: int) -> bool:
    """Whether a fold leaves a snapshot at this version.

    The shape shifts the versions: aggregates that share a stream, and snapshots of an older shape,
    do not want the same row.
    """
    return possible(model) and (version + int(shape_of(model), 16)) % EVERY == 0


def take(row: Aggregate, stream: str, version: int) -> Taken:
    """A snapshot of a row as it is now."""
    values = {name: getattr(row, name) for name in _columns(type(row))}
    return Taken((row.tenant, stream), version, msgspec.json.encode(values).decode())


def keep(conn: Connection, model: type[Aggregate], taken: Sequence[Taken]) -> None:
    """Store snapshots; one in the way is of another shape and is replaced."""
    if not taken:
        return
    conn.execute(
        f"""INSERT INTO "{_table(model)}" (tenant, stream, version, shape, state, taken_at)
            SELECT u.tenant, u.stream, u.version, %b, u.state, messaging_now()
            FROM unnest(%b::text[], %b::text[], %b::int[], %b::text[])
                AS u(tenant, stream, version, state)
            ON CONFLICT (tenant, stream, version) DO UPDATE
            SET shape = excluded.shape, state = excluded.state, taken_at = excluded.taken_at""",
        (
            shape_of(model),
            [each.stream[0] for each in taken],
            [each.stream[1] for each in taken],
            [each.version for each in taken],
            [each.state for each in taken],
        ),
    )


@cache
def possible(model: type[Aggregate]) -> bool:
    """Whether nothing in the streams of this aggregate is personal."""
    return not any(contract.personal_fields for contract in _events(model))


@cache
def shape_of(model: type[Aggregate]) -> str:
    """What a snapshot depends on, besides the events."""
    versions = [(contract.name, contract.version) for contract in _events(model)]
    said = f"{inspect.getsource(model)}{_columns(model)}{versions}"
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def _events(model: type[Aggregate]) -> list[Contract]:
    category = model.category()
    return [
        contract
        for contract in contracts()
        if contract.service == model._meta.app_label
        and (contract.kind, contract.category) == ("event", category)
    ]


@cache
def _columns(model: type[Aggregate]) -> tuple[str, ...]:
    names = (field.attname for field in model._meta.concrete_fields)
    return tuple(name for name in names if name not in ("id", "tenant"))


def _row(model: type[Aggregate], tenant: str, state: str) -> Aggregate:
    row = model(tenant=tenant)
    values: dict[str, Any] = msgspec.json.decode(state)
    for field in model._meta.concrete_fields:
        if field.attname in values:
            setattr(row, field.attname, field.to_python(values[field.attname]))
    return row


def _table(model: type[Aggregate]) -> str:
    return service(model._meta.app_label).tables.snapshot._meta.db_table
