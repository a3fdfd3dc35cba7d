"""Read your own writes: wait until a service has seen what a command wrote.

A token names a place in a service's log. A reading service has seen it when the partition of that
stream has been read up to there, or as far as anything before it concerns that service.
"""

from __future__ import annotations

import base64
import time
from enum import Enum

import msgspec
from django.conf import settings

from .database import Connection, connection
from .errors import Invalid, WiringError
from .messages import partition_of
from .services import ServiceConfig, service
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


class Sight(Enum):
    """How a write stands with a reading service. Only what is seen counts as true."""

    SEEN = "seen"
    LATE = "late"
    """Its workers have not come to it yet."""
    FAILED = "failed"
    """A delivery failed: it is parked, and tried again later, or dead."""

    def __bool__(self) -> bool:
        return self is Sight.SEEN


def wait_for(reader: str, token: str, *, tenant: str, timeout: float = 2.0) -> Sight:
    """Wait until the reading service has seen what the token names.

    Waits at most `timeout` seconds (never more than LONGEST_WAIT), and no longer once a delivery
    has failed: that takes longer. Returns how it stands then.
    Raises Invalid when the token is not one of ours, or another tenant's: how far a stream has
    come is nobody else's business.
    """
    place = read_token(token)
    if place.tenant != tenant:
        raise Invalid("not a consistency token", field="waitFor")
    deadline = time.monotonic() + min(timeout, LONGEST_WAIT)
    while (sight := seen(reader, place)) is Sight.LATE and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return sight


def seen(reader: str, place: Token) -> Sight:
    """Whether the reading service has delivered everything up to this place in its stream.

    What is parked or dead has not been delivered, though the position has passed it.
    """
    source, target = service(place.service), service(reader)
    log = source.tables.log._meta.db_table
    with connection(source.database) as conn:
        last = conn.execute(
            f"""SELECT position, message_id FROM "{log}" WHERE position = (
                    SELECT max(position) FROM "{log}"
                    WHERE tenant = %b AND stream = %b AND position <= %b::bigint
                      AND name = ANY(%b::text[]))""",
            (place.tenant, place.stream, place.position, subscribed_names(reader, place.service)),
        ).fetchone()
    if last is None:
        return Sight.SEEN
    position, message_id = last
    number = partition_of(place.tenant, place.stream, settings.MESSAGING_PARTITIONS)
    with connection(target.database) as conn:
        read_as = place.service
        if source.database != target.database:
            read_as, position = "inbox", _in_inbox(conn, target, place.service, position)
        row = conn.execute(
            f"""SELECT (positions->>%b)::bigint >= %b::bigint, EXISTS (
                    SELECT FROM "{target.tables.parked._meta.db_table}"
                    WHERE tenant = %b AND stream = %b AND source = %b AND position <= %b::bigint)
                OR EXISTS (
                    SELECT FROM "{target.tables.dead._meta.db_table}"
                    WHERE message_id = %b::uuid AND state <> 'resolved')
                FROM "{target.tables.partition._meta.db_table}" WHERE number = %b::int""",
            (read_as, position, place.tenant, place.stream, read_as, position, message_id, number),
        ).fetchone()
    reached, failed = row or (False, False)
    if failed:
        return Sight.FAILED
    return Sight.SEEN if reached else Sight.LATE


def _in_inbox(conn: Connection, target: ServiceConfig, source: str, position: int) -> int | None:
    """Where the inbox has what stands at this position of another database's log, if it does."""
    row = conn.execute(
        f"""SELECT position FROM "{target.tables.inbox._meta.db_table}"
            WHERE source = %b AND source_position = %b::bigint""",
        (source, position),
    ).fetchone()
    return row[0] if row else None
