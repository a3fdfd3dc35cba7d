"""What the events of a stream make of an aggregate: now, at a version, at an instant.

`as_of` travels to one; `fold_differences` compares every row with the fold of its stream. A long
stream is folded from its last usable snapshot (see `snapshots`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import msgspec

from . import snapshots
from .database import Connection, connect, connection
from .messages import decode
from .models import Aggregate, Row
from .replay import Difference
from .rows import table
from .services import service
from .snapshots import Stream, Taken
from .transactions import ONE_MOMENT, transaction

A = TypeVar("A", bound=Aggregate)
Moment = int | datetime
"""A version of a stream, or an instant."""

LAST_VERSION = 2**31 - 1
FOLDED = 500
"""Aggregates folded at a time."""
FETCHED = 1000
"""Events that are in memory at a time."""


@dataclass(frozen=True)
class Past(Generic[A]):
    """An aggregate as it was after the event of this version, which was recorded then."""

    row: A
    version: int
    recorded_at: datetime


@dataclass(frozen=True)
class Folded:
    """What some streams make, by stream, and the snapshots that were due on the way."""

    rows: dict[Stream, Aggregate]
    taken: list[Taken]


def as_of(
    model: type[A], tenant: str, key: str, moment: Moment | None = None, *, personal: bool = True
) -> Past[A] | None:
    """An aggregate as it was at a version or an instant; as it is when none is given.

    None when it did not exist then, or has no such version. An instant means the last event that
    was recorded by then, and all before it. Without `personal` it is as if its person had been
    forgotten.
    """
    stream = (tenant, f"{model.category()}/{key}")
    with connection(service(model._meta.app_label).database) as conn:
        place = _place(conn, model, stream, moment)
        if place is None:
            return None
        version, recorded_at = place
        folded = fold(conn, model, [stream], upto=version, personal=personal)
        snapshots.keep(conn, model, folded.taken)
    row = cast(A, folded.rows[stream])
    return Past(row, version, recorded_at) if _stream(row) == stream else None


def moment(text: str) -> Moment:
    """What a person means by `3` or `2026-03-01T12:00:00Z`. Raises ValueError."""
    if text.isascii() and text.isdecimal():
        if int(text) > LAST_VERSION:
            raise ValueError("No stream has so many versions.")
        return int(text)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValueError("Write a version such as 3, or an instant such as 2026-03-01T12:00:00Z.")
    return instant


def changes(before: Row, after: Row) -> dict[str, tuple[Any, Any]]:
    """The columns in which two rows differ, but for the id; JSON as the table would hold it."""
    pairs = {}
    for column in table(type(before)).columns:
        a, b = (getattr(row, column.attname) for row in (before, after))
        if column.json:
            a, b = (msgspec.json.decode(msgspec.json.encode(value)) for value in (a, b))
        if column.name != "id" and a != b:
            pairs[column.name] = (a, b)
    return pairs


def fold_differences(model: type[Aggregate], *, from_snapshots: bool = True) -> list[Difference]:
    """All rows of an aggregate that are not the fold of their streams.

    Without snapshots every event of every stream is read.
    """
    label = model._meta.label
    found: list[Difference] = []
    taken: list[Taken] = []
    with connect(service(model._meta.app_label).database) as conn:
        with transaction(conn, ONE_MOMENT):
            for rows in _stored(conn, model):
                folded = fold(conn, model, map(_stream, rows), from_snapshots=from_snapshots)
                taken += folded.taken
                for row in rows:
                    columns = changes(row, folded.rows[_stream(row)])
                    if columns:
                        found.append(Difference(label, row.tenant, (_key(row),), columns=columns))
            for lost in _without_row(conn, model):
                folded = fold(conn, model, lost, from_snapshots=from_snapshots)
                found += [
                    Difference(label, row.tenant, (_key(row),), found=False)
                    for stream, row in folded.rows.items()
                    if _stream(row) == stream
                ]
        # Beside the transaction: it has seen its one moment, and others may have stored the same.
        snapshots.keep(conn, model, taken)
    return found


def fold(
    conn: Connection,
    model: type[Aggregate],
    streams: Iterable[Stream],
    *,
    upto: int | None = None,
    personal: bool = True,
    from_snapshots: bool = True,
) -> Folded:
    """What the events of these streams, up to a version, make of empty rows."""
    rows = {(tenant, stream): model(tenant=tenant) for tenant, stream in streams}
    after = dict.fromkeys(rows, 0)
    taken = []
    if from_snapshots:
        for begun, (version, row) in snapshots.newest(conn, model, list(rows), upto).items():
            rows[begun], after[begun] = row, version
    # An event that cannot be read must not leave the connection in the middle of a result.
    with closing(_events(conn, model, after, upto)) as events:
        for tenant, stream, version, name, contract, payload, hidden in events:
            row = rows[tenant, stream]
            row.apply(decode(name, contract, payload, hidden if personal else None))
            if snapshots.due(model, version):
                taken.append(snapshots.take(row, stream, version))
    return Folded(rows, taken)


def _events(
    conn: Connection, model: type[Aggregate], after: dict[Stream, int], upto: int | None
) -> Generator[Any, None, None]:
    streams = list(after)
    yield from conn.cursor().stream(
        f"""SELECT l.tenant, l.stream, l.version, l.name, l.contract, l.payload, l.personal
            FROM "{_log(model)}" l
            JOIN unnest(%b::text[], %b::text[], %b::int[]) AS u(tenant, stream, after)
              ON l.tenant = u.tenant AND l.stream = u.stream
            WHERE l.version > u.after AND (%b::int IS NULL OR l.version <= %b::int)
            ORDER BY l.tenant, l.stream, l.version""",
        ([t for t, _ in streams], [s for _, s in streams], list(after.values()), upto, upto),
        size=FETCHED,
    )


def _place(
    conn: Connection, model: type[Aggregate], stream: Stream, moment: Moment | None
) -> tuple[int, datetime] | None:
    """The last version that counts at a moment, and when it was recorded."""
    condition = "true"
    if isinstance(moment, datetime):
        condition = "recorded_at <= %b::timestamptz"
    elif moment is not None:
        condition = "version = %b::int"
    found: tuple[int, datetime] | None = conn.execute(
        f"""SELECT version, recorded_at FROM "{_log(model)}"
            WHERE tenant = %b AND stream = %b AND version IS NOT NULL AND {condition}
            ORDER BY version DESC LIMIT 1""",
        (*stream, *([] if moment is None else [moment])),
    ).fetchone()
    return found


def _key(row: Aggregate) -> str:
    """The key as it stands in the stream's name; empty when no event has set it."""
    (column,) = row.key_columns()
    return str(getattr(row, column) or "")


def _stream(row: Aggregate) -> Stream:
    return row.tenant, f"{row.category()}/{_key(row)}"


def _log(model: type[Aggregate]) -> str:
    return service(model._meta.app_label).tables.log._meta.db_table


def _stored(conn: Connection, model: type[Aggregate]) -> Iterator[list[Any]]:
    rows = table(model)
    columns = ", ".join(column.read for column in rows.columns)
    last = None
    while True:
        found = conn.execute(
            f"SELECT {columns} FROM {rows.name} t WHERE %b::uuid IS NULL OR id > %b::uuid "
            "ORDER BY id LIMIT %b::int",
            (last, last, FOLDED),
        ).fetchall()
        if not found:
            return
        batch = [rows.instance(values) for values in found]
        last = batch[-1].id
        yield batch


def _without_row(conn: Connection, model: type[Aggregate]) -> Iterator[list[Stream]]:
    """The streams of this model's category that have events and no row."""
    (column,) = model.key_columns()
    prefix = f"{model.category()}/"
    found = conn.execute(
        f"""SELECT l.tenant, l.stream FROM "{_log(model)}" l
            WHERE l.version = 1 AND starts_with(l.stream, %b::text) AND NOT EXISTS (
                SELECT FROM {table(model).name} t
                WHERE t.tenant = l.tenant AND t."{column}" = substr(l.stream, %b::int))""",
        (prefix, len(prefix) + 1),
    ).fetchall()
    for start in range(0, len(found), FOLDED):
        yield found[start : start + FOLDED]
