"""Deadlines: a column of a business row whose passing sends a message.

Setting the column to NULL and sending the message is one commit, for many rows at once; any
worker may sweep, since rows under another's sweep are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from .context import Context
from .database import Connection
from .due import Sweep
from .log import append, outgoing
from .messages import Message
from .models import Row, uuid7
from .rows import table
from .tables import ServiceTables
from .transactions import transaction

MOST = 500
"""Rows taken by one sweep."""


@dataclass(frozen=True)
class Deadline:
    """A column that holds an instant, and the message that its passing sends."""

    model: type[Row]
    column: str
    message: Callable[[Any], Message]


_deadlines: list[Deadline] = []


def deadline(model: type[Row], *, column: str, message: Callable[[Any], Message]) -> None:
    """Send `message(row)` once the instant in a row's column has passed, and clear the column."""
    _deadlines.append(Deadline(model, column, message))


def deadlines() -> list[Deadline]:
    """All deadlines, in the order of their declaration."""
    return list(_deadlines)


def sweeps(service: str, tables: ServiceTables) -> list[Sweep]:
    """The sweeps that send the messages of a service's deadlines."""
    return [
        Sweep(each.model._meta.db_table, each.column, partial(_send, deadline=each, tables=tables))
        for each in _deadlines
        if each.model._meta.app_label == service
    ]


def _send(conn: Connection, deadline: Deadline, tables: ServiceTables) -> int:
    rows = table(deadline.model)
    columns = ", ".join(column.read for column in rows.columns)
    with transaction(conn):
        found = conn.execute(
            f"""SELECT {columns}, messaging_now() FROM {rows.name} t
                WHERE t."{deadline.column}" <= messaging_now()
                ORDER BY t."{deadline.column}" LIMIT %b::int FOR UPDATE SKIP LOCKED""",
            (MOST,),
        ).fetchall()
        if found:
            expired = [(rows.instance(values), now) for *values, now in found]
            messages = [outgoing(deadline.message(row), _context(row, now)) for row, now in expired]
            with conn.pipeline():
                conn.execute(
                    f"""UPDATE {rows.name} SET "{deadline.column}" = NULL WHERE id = ANY(%b::uuid[])""",
                    ([row.id for row, _ in expired],),
                )
                conn.execute(*append(tables, messages))
    return len(found)


def _context(row: Row, now: datetime) -> Context:
    cause = uuid7()
    return Context(
        tenant=row.tenant, actor="deadline", message_id=cause, correlation_id=cause,
        cause_id=None, traceparent=None, recorded_at=now, now=now,
    )  # fmt: skip
