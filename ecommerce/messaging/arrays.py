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
from typing import Any
from uuid import UUID

import psycopg

MISFITS = (struct.error, TypeError, AttributeError, UnicodeError)
"""What is raised for a value that does not belong in an array of its type."""
NULL = struct.pack("!i", -1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From where PostgreSQL counts microseconds."""

_head = struct.Struct("!iiIii").pack
_length = struct.Struct("!i").pack
_lengths = {length: _length(length) for length in range(256)}
"""Those of most texts: to look one up takes half the time of writing it."""


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


def unnested(columns: Iterable[tuple[str, str]]) -> str:
    """What stands in FROM for the rows of such arrays, `u`: of columns given by name and type.

    In a select list arrays are walked in step; in FROM each would be made a table first (decision 42).
    """
    chosen = ", ".join(f'unnest(%b::{kind}) AS "{name}"' for name, kind in columns)
    return f"(SELECT {chosen}) AS u"


def microseconds(span: timedelta) -> int:
    """A span in whole microseconds, exactly."""
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


@lru_cache(256)
def _instant(value: datetime) -> bytes:
    """Most rows of a statement have the same times."""
    return _int8(microseconds(value - EPOCH))


def _uuid(value: UUID) -> bytes:
    return value.int.to_bytes(16)


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
    "uuid[]": (2950, _uuid),
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
    """What is sent. Raises DataError for a value that the type does not hold.

    Equal values, as whole columns of a batch have them, are encoded once (0.0 and -0.0 are equal).
    """
    number, encode = ELEMENTS[values.kind]
    if not values:
        return struct.pack("!iiI", 0, 0, number)
    head = _head(1, 1, number, len(values), 1)
    first, last = values[0], values[-1]
    alike = first == last and values.count(first) == len(values)
    different = [first] if alike else values
    repeats = len(values) if alike else 1
    if length := SAME_LENGTH.get(values.kind):
        with suppress(*MISFITS):  # one of them is NULL, or does not belong there
            return head + (length + length.join(map(encode, different))) * repeats
    parts = []
    for value in different:
        if value is None:
            parts.append(NULL)
            continue
        try:
            data = encode(value)
        except MISFITS as error:
            raise psycopg.DataError(f"{value!r} cannot be in {values.kind}: {error}") from error
        size = len(data)
        parts += (_lengths[size] if size < 256 else _length(size), data)
    return head + b"".join(parts) * repeats
