"""Feeding events to a service's projections: in memory, or through its workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from ecommerce.messaging.context import Context
from ecommerce.messaging.database import connect
from ecommerce.messaging.log import append, outgoing
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import handlers_of
from ecommerce.messaging.rows import Workspace
from ecommerce.messaging.services import service

NOW = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


def context(minute: int = 0, tenant: str = "main") -> Context:
    """The context of a message that was recorded so many minutes after NOW."""
    message, at = UUID(int=1), NOW + timedelta(minutes=minute)
    return Context(
        tenant=tenant,
        actor="user:1",
        message_id=message,
        correlation_id=message,
        cause_id=None,
        traceparent=None,
        recorded_at=at,
        now=at,
    )


def project(name: str, events: Iterable[tuple[Message, Context]]) -> list[Row]:
    """The rows that a service's projections make of these events, found by key as the kernel does."""
    workspace = Workspace()
    for event, about in events:
        for handler in handlers_of(type(event), name):
            if handler.kind != "projects":
                continue
            arguments = workspace.arguments(handler, workspace.want(handler, about.tenant, event))
            if handler.context_parameter:
                arguments[handler.context_parameter] = about
            results = handler.function(event, **arguments)
            for row in results if isinstance(results, list) else [results] if results else []:
                assert isinstance(row, Row)
                workspace.add(row, about.tenant)
    return workspace.touched()


def publish(source: str, events: Sequence[Message]) -> None:
    """Append events to a service's log, as if it had decided them, for workers to deliver."""
    items = [outgoing(event, context()) for event in events]
    with connect(service(source).database) as conn, conn.transaction():
        conn.execute(*append(service(source).tables, items))


def interleavings(sources: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
    """Every order in which the sources' items may come, each source's own order kept."""
    waiting = [source for source in sources if source]
    if not waiting:
        yield []
    for i, (first, *rest) in enumerate(waiting):
        for following in interleavings([*waiting[:i], rest, *waiting[i + 1 :]]):
            yield [first, *following]


def columns(row: Row) -> dict[str, Any]:
    """All columns of a row but the surrogate key."""
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}


def state(rows: Iterable[Row]) -> list[tuple[str, dict[str, Any]]]:
    """All rows with their columns, sorted."""
    by_key = sorted(rows, key=lambda row: [str(getattr(row, name)) for name in row.key_columns()])
    return sorted(((type(row).__name__, columns(row)) for row in by_key), key=lambda item: item[0])
