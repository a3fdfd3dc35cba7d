"""Columns of values on their way to `unnest`, in PostgreSQL's binary format.

To find out what is in a list takes longer than all else Python does for a statement about a single
row. These lists know their type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any

import psycopg

MISFITS = (struct.error, TypeError, AttributeError, UnicodeError)
"""What is raised for a value that does not belong in an array of its type."""
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


@lru_cache(256)
def _instant(value: datetime) -> bytes:
    """Most rows of a statement have the same times."""
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
SAME_LENGTH = {
    "bigint[]": _length(8),
    "int[]": _length(4),
    "integer[]": _length(4),
    "timestamp with time zone[]": _length(8),
    "timestamptz[]": _length(8),
    "uuid[]": _length(16),
}
"""How the length of an element is written, where all of a type are equally long and NULL, when it is
encoded, raises. A boolean would take it for false."""


def packed(values: Array) -> bytes:
    """What is sent. Raises DataError for a value that the type does not hold."""
    number, encode = ELEMENTS[values.kind]
    if not values:
        return struct.pack("!iiI", 0, 0, number)
    head = _head(1, 1, number, len(values), 1)
    if length := SAME_LENGTH.get(values.kind):
        with suppress(*MISFITS):  # one of them is NULL, or does not belong there
            return head + length + length.join(map(encode, values))
    parts = [head]
    for value in values:
        if value is None:
            parts.append(NULL)
            continue
        try:
            data = encode(value)
        except MISFITS as error:
            raise psycopg.DataError(f"{value!r} cannot be in {values.kind}: {error}") from error
        parts += (_length(len(data)), data)
    return b"".join(parts)
