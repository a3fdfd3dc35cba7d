"""Why a delivery or an effect was given up, and which of them died of the same thing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

import msgspec
import psycopg

from .errors import Retry, WiringError
from .log import Stored

Reason = Literal[
    "attempts", "unavailable", "refused", "unreadable", "unwired", "killed-workers", "lost-calls"
]
"""
| reason           | what happened                                                        |
|------------------|----------------------------------------------------------------------|
| `attempts`       | its handler raised at every attempt                                  |
| `unavailable`    | the outside said at every attempt that it cannot answer now (`Retry`) |
| `refused`        | the database refuses what its handler writes                         |
| `unreadable`     | no code here can read the message                                    |
| `unwired`        | its handler is gone, or returns what it may not                      |
| `killed-workers` | it was under way alone each time that a worker died                  |
| `lost-calls`     | workers died during the call: nobody knows what came of it           |
"""
REASONS: tuple[Reason, ...] = get_args(Reason)

_VARYING = re.compile(r"[\w.@:/+-]*\d[\w.@:/+-]*")
"""A word with a digit in it: a number, an id, a time."""
_SHORTEST = 3
"""Shorter values of a message are likely to be part of some other word."""


def reason_of(error: str) -> Reason:
    """The reason that the text of the last error gives (see `errors.describe`)."""
    kind = headline(error).partition(":")[0]
    if kind == Retry.__name__:
        return "unavailable"
    if kind == WiringError.__name__:
        return "unwired"
    found = getattr(psycopg.errors, kind, None)
    if isinstance(found, type) and issubclass(found, psycopg.Error):
        return "refused"
    return "attempts"


def cause_of(handler: str, reason: str, error: str, letter: Stored) -> str:
    """The same for all that died of the same thing: one handler, one reason, one kind of error,
    and the same text but for what differs from message to message."""
    text = headline(error)
    for value in sorted(_values(letter), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "#", text)
    text = _VARYING.sub("#", text)
    return hashlib.blake2b(f"{handler}\n{reason}\n{text}".encode(), digest_size=8).hexdigest()


def headline(error: str) -> str:
    """An error's kind and text, without the lines of code above them."""
    return next((line for line in error.splitlines() if line and not line[0].isspace()), "")


def _values(letter: Stored) -> Iterator[str]:
    """All text that a message carries: what an error quotes of it says nothing about the cause."""
    yield from _texts(letter.stream.partition("/")[2])
    for column in (letter.payload, letter.personal):
        try:
            yield from _texts(msgspec.json.decode(column or "null"))
        except msgspec.DecodeError:
            continue


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value) >= _SHORTEST:
            yield value
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)
