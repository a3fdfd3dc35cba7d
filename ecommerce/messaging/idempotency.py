"""One answer for one key: a repeated request is not run again.

Key, fingerprint, business rows, messages and the stored answer are one transaction. While a
request runs it holds an advisory lock on its key, so a second one is told so at once instead of
waiting; the unique constraint is the last line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import msgspec

from .database import Connection
from .errors import Conflict, Fenced, Invalid
from .models import uuid7
from .rows import Statement, table
from .tables import ServiceTables
from .transactions import fenced
from .wire import Answer

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
) -> Answer | None:
    """Require the key's lock and ask for its answer; to be sent in a pipeline, in `refused`."""
    if request is None:
        return None
    scope = (tenant, request.caller, request.route, request.key)
    conn.execute(
        """SELECT messaging_require(
               pg_try_advisory_xact_lock(hashtextextended(%b::text, 8112)), 'key in use')""",
        ("\x1f".join(scope),),
    )
    return conn.execute(
        f"""SELECT fingerprint, status, headers, coalesce(body, personal)
            FROM "{tables.idempotency._meta.db_table}"
            WHERE tenant = %b AND caller = %b AND route = %b AND key = %b
              AND created_at > messaging_now() - make_interval(hours => %b::int)""",
        (*scope, KEEP_HOURS),
    )


@contextmanager
def refused() -> Iterator[None]:
    """Raise Conflict when another request with the key is still running."""
    try:
        with fenced():
            yield
    except Fenced as error:
        raise Conflict(
            "a request with this Idempotency-Key is still running; ask again",
            code="idempotency-key-in-use",
        ) from error


def replay(answer: Answer | None, request: IdempotencyRequest | None) -> Response | None:
    """The stored answer, or None when the request must run.

    Raises Invalid when the key was used for something else.
    """
    if answer is None or request is None:
        return None
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
