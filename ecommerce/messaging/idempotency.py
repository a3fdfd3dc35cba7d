"""One answer for one key: a repeated request is not run again.

Key, fingerprint, business rows, messages and the stored answer are one transaction. While a
request runs it holds an advisory lock on its key, so a second one is told so at once instead of
waiting; the unique constraint is the last line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Cursor

from .database import Connection
from .errors import Conflict, Invalid
from .models import uuid7
from .rows import Statement, table
from .tables import ServiceTables

KEEP_HOURS = 24


@dataclass(frozen=True)
class Response:
    """An answer that can be given again."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class IdempotencyRequest:
    """Who asks, where, with which key, and a fingerprint of what is asked.

    With `person` the stored answer is personal data of that person.
    """

    caller: str
    route: str
    key: str
    fingerprint: str
    person: str | None = None


def look_up(
    conn: Connection, tables: ServiceTables, tenant: str, request: IdempotencyRequest | None
) -> tuple[Cursor[Any], Cursor[Any]] | None:
    """Ask for the key's lock and its answer; to be sent in a pipeline."""
    if request is None:
        return None
    scope = (tenant, request.caller, request.route, request.key)
    lock = conn.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%b::text, 8112))", ("\x1f".join(scope),)
    )
    answer = conn.execute(
        f"""SELECT fingerprint, status, headers, coalesce(body, personal)
            FROM "{tables.idempotency._meta.db_table}"
            WHERE tenant = %b AND caller = %b AND route = %b AND key = %b
              AND created_at > messaging_now() - make_interval(hours => %b::int)""",
        (*scope, KEEP_HOURS),
    )
    return lock, answer


def replay(
    found: tuple[Cursor[Any], Cursor[Any]] | None, request: IdempotencyRequest | None
) -> Response | None:
    """The stored answer, or None when the request must run.

    Raises Conflict while another request with the key runs, Invalid when the key was used for
    something else.
    """
    if found is None or request is None:
        return None
    lock, answer = found
    (locked,) = lock.fetchone() or (False,)
    if not locked:
        raise Conflict(
            "a request with this Idempotency-Key is still running; ask again",
            code="idempotency-key-in-use",
        )
    row = answer.fetchone()
    if row is None:
        return None
    fingerprint, status, headers, body = row
    if fingerprint != request.fingerprint:
        raise Invalid(
            "this Idempotency-Key was used for another request",
            field="Idempotency-Key",
            code="idempotency-key-reused",
        )
    return Response(status, msgspec.json.decode(headers), body)


def remember(
    tables: ServiceTables,
    tenant: str,
    request: IdempotencyRequest | None,
    response: Response | None,
    now: datetime,
) -> Sequence[Statement]:
    """The statements that store the answer; one that has expired under the same key gives way."""
    if request is None or response is None:
        return []
    answers = table(tables.idempotency)
    scope = (tenant, request.caller, request.route, request.key)
    body = (response.body, None) if request.person is None else (None, response.body)
    headers = msgspec.json.encode(response.headers).decode()
    row = (
        uuid7(),
        *scope,
        request.fingerprint,
        response.status,
        headers,
        *body,
        request.person,
        now,
    )
    expired = f"""DELETE FROM {answers.name}
        WHERE tenant = %b AND caller = %b AND route = %b AND key = %b
          AND created_at <= messaging_now() - make_interval(hours => %b::int)"""
    return [(expired, (*scope, KEEP_HOURS)), answers.insert_values([row], answers.columns)]


def forget_expired(tables: ServiceTables) -> Statement:
    """The statement that deletes answers which are not given again any more."""
    sql = f"""DELETE FROM "{tables.idempotency._meta.db_table}"
        WHERE created_at <= messaging_now() - make_interval(hours => %b::int)"""
    return sql, (KEEP_HOURS,)
