"""Disturbing a service's deliveries by the kernel's own rules, which must withstand it.

A pause takes a service's leases and does nothing with them, as a worker would that hangs: batches
under way are refused by the fence, and workers go on when the leases run out. What is delivered
again is read and run by the kernel as a worker would that lost its leases and does not know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.drain import Drain, look_for
from ecommerce.messaging.errors import Fenced
from ecommerce.messaging.fleet import Partitions
from ecommerce.messaging.leases import Lease
from ecommerce.messaging.log import horizons
from ecommerce.messaging.services import ServiceConfig
from ecommerce.messaging.subscriptions import readable
from ecommerce.messaging.transports import publishes

PAUSED = "paused by an operator"
"""The owner of the leases of a service whose deliveries rest."""
LATE = "a worker that is late"


class GuardFailed(Exception):
    """What should have been refused was stored: the fence does not work."""


@dataclass(frozen=True)
class Again:
    """What became of messages that were delivered again: how many were read, and, where there is
    an inbox, how many sources are copied into it again."""

    service: str
    read: int
    copied: int


def pause(service: ServiceConfig, seconds: int) -> None:
    """Let a service's deliveries rest for so long, from now on."""
    with connect(service.database, PAUSED) as conn:
        conn.execute(
            f"""UPDATE "{service.tables.partition._meta.db_table}" SET owner = %b::text,
                    token = token + 1,
                    expires_at = messaging_now() + make_interval(secs => %b::float8)
                WHERE number IN (SELECT number FROM "{service.tables.partition._meta.db_table}"
                                 ORDER BY number FOR UPDATE)""",
            (PAUSED, float(seconds)),
        )


def resume(service: ServiceConfig) -> None:
    """End the pause: workers come back within seconds."""
    with connect(service.database, PAUSED) as conn:
        conn.execute(
            f"""UPDATE "{service.tables.partition._meta.db_table}"
                SET owner = NULL, expires_at = NULL WHERE owner = %b::text""",
            (PAUSED,),
        )


def paused(partitions: Sequence[Partitions]) -> dict[str, float]:
    """The services whose deliveries rest, each with the seconds that are left."""
    return {
        each.service: max(left)
        for each in partitions
        if (left := [h.lease for h in each.held if h.owner == PAUSED and h.lease and h.lease > 0])
    }


def again(service: ServiceConfig, messages: int) -> Again:
    """Deliver the last messages of each of a service's sources once more.

    Raises GuardFailed when that had any effect.
    """
    with connect(service.database, LATE) as conn:
        drain = Drain(service, readable(service), LATE)
        ahead = drain.horizons(horizons(conn, sorted(drain.sources.values()), {}))
        back = {source: max(position - messages, 0) for source, position in ahead.items()}
        drain.leases.held = _lost(conn, service, back)
        look_for(conn, [drain], {drain.name: ahead})
        read = len(drain.batch.messages) if drain.batch else 0
        try:
            drain.deliver(conn)
        except Fenced:
            pass
        else:
            if read:
                raise GuardFailed(f"{service.label} stored {read} messages a second time")
        return Again(service.label, read, _copy_again(conn, service, messages))


def _lost(conn: Connection, service: ServiceConfig, positions: dict[str, int]) -> dict[int, Lease]:
    """All leases of a service, as somebody knew them who had them before."""
    rows = conn.execute(
        f'SELECT number, token FROM "{service.tables.partition._meta.db_table}" ORDER BY number'
    ).fetchall()
    return {number: Lease(number, token - 1, dict(positions), 0) for number, token in rows}


def _copy_again(conn: Connection, service: ServiceConfig, messages: int) -> int:
    """Let relays copy from other databases what they have copied already: an inbox takes it once.

    Where a broker carries messages, cursors are receipts and stay.
    """
    if publishes():
        return 0
    return conn.execute(
        f"""UPDATE "{service.tables.relay._meta.db_table}"
            SET position = greatest(position - %b::bigint, 0)""",
        (messages,),
    ).rowcount
