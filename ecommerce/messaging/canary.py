"""The canary: a ping that each service sends to itself, to show that its messages arrive.

A schedule sends it every minute, and soon after a worker began; it stands in the service's log, is
read by whoever holds its partition, and its handler writes the answer to the service's canary row
in the batch's commit. Whatever is broken on that way, the answer stays away, and `/health/ready`
says so. It is an event, since commands have every service read every log.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .context import Context
from .database import Connection
from .messages import FrozenMeta, Message, event
from .models import uuid7
from .registry import handles
from .schedules import NO_SHOP, schedule

if TYPE_CHECKING:
    from .services import ServiceConfig

NAME = "ping"
EVERY = "* * * * *"
_MICROSECOND = timedelta(microseconds=1)
FRESH_SECONDS = 30.0
"""Younger than this, a ping need not be sent again because a worker begins."""

_declared: set[str] = set()


def declare(service: ServiceConfig) -> None:
    """Declare a service's `Pinged`, who answers it, and its schedule, the first time it is asked."""
    if service.label in _declared:
        return
    _declared.add(service.label)
    pinged = _contract(service.name)
    model: Any = service.tables.canary

    def answer_ping(event: Any, canary: Any, context: Context) -> Any:
        canary = canary or model(name=event.canary)
        canary.asked_at, canary.answered_at = context.recorded_at, context.now
        canary.took_us = (context.now - context.recorded_at) // _MICROSECOND
        return canary

    answer_ping.__module__ = f"{service.name}.handlers"
    answer_ping.__annotations__ |= {"event": pinged, "canary": model | None}
    handles(canary=lambda event: event.canary)(answer_ping)
    schedule(f"{service.label}.ping", EVERY, message=lambda _: pinged(canary=NAME))


def begin(conn: Connection, service: ServiceConfig) -> None:
    """Have a ping sent soon, since a worker begins; the first one is awaited from now on."""
    tables = service.tables
    conn.execute(
        f"""INSERT INTO "{tables.canary._meta.db_table}" (id, tenant, name, asked_at)
            VALUES (%b::uuid, %b::text, %b::text, messaging_now()) ON CONFLICT DO NOTHING""",
        (uuid7(), NO_SHOP, NAME),
    )
    conn.execute(
        f"""UPDATE "{tables.schedule._meta.db_table}"
            SET due_at = messaging_now() - interval '1 minute'
            WHERE name = %b::text AND due_at > messaging_now()
              AND coalesce(ran_at < messaging_now() - make_interval(secs => %b::float8), true)""",
        (f"{service.label}.ping", FRESH_SECONDS),
    )


def _contract(service: str) -> Any:
    namespace = {
        "__module__": f"{service}.contracts",
        "__annotations__": {"canary": str},
        "__doc__": "The canary was asked to answer. No business of anyone's.",
    }
    declared: Any = FrozenMeta("Pinged", (Message,), namespace)
    return event(stream="canary")(declared)
