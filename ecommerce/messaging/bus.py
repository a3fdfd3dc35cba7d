"""A command, now, in one transaction.

`execute` is how people act: the API, the pages, the admin and the commands of `manage.py` call it,
and get the result or a typed refusal. Whatever the handler causes is delivered by the workers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from . import idempotency as idempotent
from . import parking, wakeup
from .consistency import token_for
from .context import Context
from .database import Connection, connection
from .delivery import Delivery, Work, by, call
from .errors import WiringError
from .idempotency import IdempotencyRequest, Response
from .log import Stored, outgoing
from .messages import Message, contract_of
from .models import Row, uuid7
from .registry import Handler, handlers_of
from .rows import Workspace
from .services import service
from .tables import ServiceTables
from .transactions import ask, rollback

__all__ = ["IdempotencyRequest", "Outcome", "Response", "execute"]

MOST_TRIES = 5
"""How often a command is tried that loses a race in the database."""


@dataclass(frozen=True)
class Outcome:
    """What a command did. `token` lets a read wait until a read model shows it."""

    messages: list[Message]
    rows: list[Row]
    token: str = ""
    response: Response | None = None
    replayed: bool = False

    def row(self, model: type[Any]) -> Any:
        """The one row of this model that the command touched."""
        (found,) = (row for row in self.rows if isinstance(row, model))
        return found


@dataclass(frozen=True)
class Request:
    """One call of `execute`."""

    command: Message
    handler: Handler
    tables: ServiceTables
    tenant: str
    actor: str
    correlation_id: uuid.UUID
    traceparent: str | None
    idempotency: IdempotencyRequest | None
    respond: Callable[[Outcome], Response] | None


def execute(
    command: Message,
    *,
    tenant: str,
    actor: str,
    correlation_id: uuid.UUID | None = None,
    traceparent: str | None = None,
    idempotency: IdempotencyRequest | None = None,
    respond: Callable[[Outcome], Response] | None = None,
) -> Outcome:
    """Run a command's handler and commit what it decides.

    With an idempotency request the answer of `respond` is stored in the same transaction, and a
    repeated request gets it again without running anything.

    Raises Refused (or a subclass) when the handler refuses: nothing is stored then.
    """
    owner = service(contract_of(command).service)
    request = Request(
        command, command_handler(command), owner.tables, tenant, actor,
        correlation_id or uuid7(), traceparent, idempotency, respond,
    )  # fmt: skip
    attempt = 1
    while True:
        with connection(owner.database) as conn:
            try:
                outcome = _transaction(conn, request)
            except BaseException as error:
                rollback(conn)
                if attempt == MOST_TRIES or not _raced(error) or conn.closed:
                    raise
                attempt += 1
            else:
                return outcome


def command_handler(command: Message | type[Message]) -> Handler:
    """The one handler of a command. Raises WiringError when there is none or several."""
    contract = contract_of(command)
    found = [h for h in handlers_of(contract.type, contract.service) if h.kind == "handles"]
    if contract.kind != "command" or len(found) != 1:
        raise WiringError(f"{contract.name} has {len(found)} handlers in {contract.service}")
    return found[0]


def _transaction(conn: Connection, request: Request) -> Outcome:
    command_id, workspace = uuid7(), Workspace()
    wanted = workspace.want(request.handler, request.tenant, request.command)
    with idempotent.refused(), conn.pipeline():
        conn.execute("BEGIN")
        clock = conn.execute("SELECT messaging_now()")
        answer = idempotent.look_up(conn, request.tables, request.tenant, request.idempotency)
        cursors = ask(conn, workspace)
    (now,) = clock.fetchone() or (None,)
    assert now is not None
    replay = idempotent.replay(answer, request.idempotency)
    if replay is not None:
        conn.execute("COMMIT")
        return Outcome([], [], response=replay, replayed=True)
    stored = _as_stored(request, command_id, now)
    delivery = Delivery(stored, request.command, request.handler, wanted=wanted)
    workspace.fetched(cursors)
    work = Work(request.handler.service, workspace)
    started = time.perf_counter_ns()
    call(delivery, work, now)
    delivery.ran_us = (time.perf_counter_ns() - started) // 1000
    outcome = Outcome([item.message for item in work.messages], workspace.touched())
    response = request.respond(outcome) if request.respond else None
    statements = [
        *work.writes(request.tables),
        *parking.settle(request.tables, [delivery], now, by(request.actor)),
        *idempotent.remember(request.tables, request.tenant, request.idempotency, response, now),
        *work.appends(request.tables),
    ]
    with conn.pipeline():
        results = [conn.execute(*statement) for statement in statements]
        conn.execute("COMMIT")
    perform: tuple[wakeup.Kind, ...] = ("perform",) if work.effects else ()
    wakeup.wake(service(request.handler.service).database, "deliver", "show", *perform)
    token = ""
    if work.messages:
        (position,) = results[-1].fetchall()[-1]
        last = work.messages[-1]
        token = token_for(request.handler.service, request.tenant, last.stream, position)
    return Outcome(outcome.messages, outcome.rows, token, response)


def _as_stored(request: Request, command_id: uuid.UUID, now: Any) -> Stored:
    """The command as if it had come from a log: handlers see the same context either way."""
    contract = contract_of(request.command)
    root = Context(
        tenant=request.tenant, actor=request.actor, message_id=command_id,
        correlation_id=request.correlation_id, cause_id=None,
        traceparent=request.traceparent, recorded_at=now, now=now,
    )  # fmt: skip
    item = outgoing(request.command, root)
    return Stored(
        position=0, message_id=command_id, tenant=request.tenant, stream=item.stream, partition=0,
        name=contract.name, contract=contract.version, payload="", personal=None, person=None,
        correlation_id=request.correlation_id, cause_id=None, actor=request.actor,
        traceparent=request.traceparent, recorded_at=now,
    )  # fmt: skip


def _raced(error: BaseException) -> bool:
    return isinstance(
        error,
        psycopg.errors.UniqueViolation
        | psycopg.errors.DeadlockDetected
        | psycopg.errors.SerializationFailure,
    )
