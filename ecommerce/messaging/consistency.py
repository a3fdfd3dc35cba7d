"""Read your own writes: wait until a service has seen what a command wrote.

A token names a place in a service's log. A reading service has seen it when the partition of that
stream has been read up to there, or as far as anything before it concerns that service.
"""

from __future__ import annotations

import base64
import time

import msgspec
from django.conf import settings

from .database import connection
from .errors import Invalid, WiringError
from .messages import partition_of
from .services import service
from .subscriptions import subscribed_names

POLL_SECONDS = 0.01
LONGEST_WAIT = 5.0


class Token(msgspec.Struct, frozen=True, array_like=True):
    """A place in a service's log."""

    service: str
    tenant: str
    stream: str
    position: int


def token_for(source: str, tenant: str, stream: str, position: int) -> str:
    """The opaque token of a message in a service's log."""
    raw = msgspec.json.encode(Token(source, tenant, stream, position))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_token(token: str) -> Token:
    """The place a token names. Raises Invalid when it is not one of ours."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        place = msgspec.json.decode(raw, type=Token)
        service(place.service)
    except (ValueError, msgspec.MsgspecError, WiringError):
        raise Invalid("not a consistency token", field="waitFor") from None
    return place


def wait_for(reader: str, token: str, timeout: float = 2.0) -> bool:
    """Wait until the reading service has seen what the token names.

    Waits at most `timeout` seconds (never more than LONGEST_WAIT); returns whether it has.
    Raises Invalid when the token is not one of ours.
    """
    place = read_token(token)
    deadline = time.monotonic() + min(timeout, LONGEST_WAIT)
    while not seen(reader, place):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def seen(reader: str, place: Token) -> bool:
    """Whether the reading service has delivered everything up to this place in its stream.

    What is parked has not been delivered, though the position has passed it.
    """
    source, target = service(place.service), service(reader)
    with connection(source.database) as conn:
        (position,) = conn.execute(
            f"""SELECT max(position) FROM "{source.tables.log._meta.db_table}"
                WHERE tenant = %b AND stream = %b AND position <= %b::bigint
                  AND name = ANY(%b::text[])""",
            (place.tenant, place.stream, place.position, subscribed_names(reader, place.service)),
        ).fetchone() or (None,)
    if position is None:
        return True
    number = partition_of(place.tenant, place.stream, settings.MESSAGING_PARTITIONS)
    inbox = target.tables.inbox._meta.db_table
    partitions = target.tables.partition._meta.db_table
    with connection(target.database) as conn:
        if source.database == target.database:
            reached = "(positions->>%b)::bigint >= %b::bigint"
        else:
            reached = f"""(positions->>'inbox')::bigint >= (
                SELECT position FROM "{inbox}" WHERE source = %b AND source_position = %b::bigint)"""
        row = conn.execute(
            f"""SELECT {reached} AND NOT EXISTS (
                    SELECT FROM "{target.tables.parked._meta.db_table}"
                    WHERE tenant = %b AND stream = %b)
                FROM "{partitions}" WHERE number = %b::int""",
            (place.service, position, place.tenant, place.stream, number),
        ).fetchone()
    return bool(row and row[0])
