"""Columns of values on their way to `unnest`, in PostgreSQL's binary format.

To find out what is in a list takes longer than all else Python does for a statement about a single
row. These lists know their type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import psycopg

NULL = struct.pack("!i", -1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From where PostgreSQL counts microseconds."""

_head = struct.Struct("!iiIii").pack
_length = struct.Struct("!i").pack


class Array(list[Any]):
    """Values of one type; None is NULL. The statement has to name the type: `%b::uuid[]`."""

    __slots__ = ("kind",)

    def __init__(self, kind: str, values: Iterable[Any]) -> None:
        super().__init__(values)
        self.kind = kind


def array(kind: str, values: Iterable[Any]) -> list[Any]:
    """Values for a parameter of this type, such as `uuid[]`; a plain list if it is not known."""
    return Array(kind, values) if kind in ELEMENTS else list(values)


def by_column(kinds: Iterable[str], rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """The values of these rows by column, each for a parameter of its type."""
    return [array(*column) for column in zip(kinds, zip(*rows, strict=True), strict=True)]


def microseconds(span: timedelta) -> int:
    """A span in whole microseconds, exactly."""
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _instant(value: datetime) -> bytes:
    return _int8(microseconds(value - EPOCH))


_int8 = struct.Struct("!q").pack

ELEMENTS: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "bigint[]": (20, _int8),
    "boolean[]": (16, struct.Struct("!?").pack),
    "double precision[]": (701, struct.Struct("!d").pack),
    "int[]": (23, struct.Struct("!i").pack),
    "integer[]": (23, struct.Struct("!i").pack),
    "text[]": (25, str.encode),
    "timestamp with time zone[]": (1184, _instant),
    "timestamptz[]": (1184, _instant),
    "uuid[]": (2950, attrgetter("bytes")),
}
"""The number of each element's type, in pg_type, and what it is on the wire."""


def packed(values: Array) -> bytes:
    """What is sent. Raises DataError for a value that the type does not hold."""
    number, encode = ELEMENTS[values.kind]
    if not values:
        return struct.pack("!iiI", 0, 0, number)
    parts = [_head(1, 1, number, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(NULL)
            continue
        try:
            data = encode(value)
        except (struct.error, TypeError, AttributeError, UnicodeError) as error:
            raise psycopg.DataError(f"{value!r} cannot be in {values.kind}: {error}") from error
        parts += (_length(len(data)), data)
    return b"".join(parts)
