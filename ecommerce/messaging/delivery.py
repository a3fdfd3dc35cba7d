"""Running handlers over a list of deliveries, in memory, in one unit of work.

A delivery is one message for one handler. `run` gives each handler its rows, keeps what it
returns, and sets a delivery that raises apart: the rows go back to what was fetched and the others
run again, so a failure costs nobody else anything. `Work.writes` are the statements that store
all of it; the caller adds its completing statement and commits.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .context import Context
from .errors import WiringError, describe_with_place
from .log import Outgoing, Stored, append, insert_with_due_time, outgoing
from .messages import Message
from .models import Row
from .policies import Decision, decide
from .registry import Handler, Later, performer_of
from .rows import Statement, Wanted, Workspace
from .tables import ServiceTables

MOST_RESTARTS = 10
EFFECT = {
    "id": "uuid",
    "recorded_at": "timestamptz",
    "handler": "text",
    "due_at": "timestamptz",
    "attempts": "int",
    "claims": "int",
    "error": "text",
    "token": "uuid",
}
HOST = socket.gethostname()[:40]
TIMER = {"id": "uuid", "recorded_at": "timestamptz", "due_at": "timestamptz"}


def by(who: str) -> str:
    """What delivery logs call one who works in this process: host, process id, and who it is."""
    return f"{HOST}:{os.getpid()}:{who}"


@dataclass(slots=True)
class Delivery:
    """One message for one handler, and what became of it."""

    stored: Stored
    message: Message
    handler: Handler
    attempt: int = 1
    parked_id: int | None = None
    due_at: datetime | None = None
    """Since when it waits, when that is not since the message was recorded."""
    ran_us: int = 0
    error: str | None = None
    wanted: Wanted = field(default_factory=list)
    """The keys of the rows that its handler needs."""
    reason: str = ""
    """Why it is given up, when the error does not tell (see `reasons`)."""
    _decision: Decision | None = None

    @property
    def decision(self) -> Decision:
        """The policy that its message falls under, and how that was decided, once and for all."""
        if self._decision is None:
            stored = self.stored
            self._decision = decide(
                stored.name, stored.tenant, stored.recorded_at, lambda: self.message
            )
        return self._decision

    @property
    def retry_after(self) -> tuple[float, ...]:
        """Seconds to wait before each further attempt: as the policy says, or the handler."""
        policy = self.decision.policy
        said = policy.retry if policy else None
        return self.handler.retry_after if said is None else said

    def want(self, workspace: Workspace) -> None:
        """Let a workspace know which rows the handler needs."""
        self.wanted = workspace.want(self.handler, self.stored.tenant, self.message)

    @property
    def given_up(self) -> bool:
        """Whether it failed for the last time."""
        return bool(self.error) and self.attempt > len(self.retry_after)

    @property
    def stream(self) -> tuple[str, str, str]:
        """What a failure of this delivery holds back: the handler, tenant and stream."""
        return (self.handler.name, self.stored.tenant, self.stored.stream)


@dataclass(slots=True)
class Intent:
    """A call that a handler asked for, as it will be written."""

    item: Outgoing
    handler: Handler
    due_at: datetime
    token: uuid.UUID | None = None
    """The claim of the worker that writes it, if that is going to make the call itself."""
    envelope: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.envelope = self.item.envelope()

    def values(self) -> tuple[Any, ...]:
        """The values of the EFFECT columns."""
        made = (self.item.message_id, self.item.cause.now)
        return *made, self.handler.name, self.due_at, 0, int(self.token is not None), "", self.token


class TooManyFailures(Exception):
    """More deliveries of a batch raised than is worth starting over for; run fewer at a time."""


@dataclass(slots=True)
class Work:
    """What the handlers of a unit of work changed and caused."""

    service: str
    workspace: Workspace
    messages: list[Outgoing] = field(default_factory=list)
    effects: list[Intent] = field(default_factory=list)
    timers: list[tuple[Outgoing, datetime]] = field(default_factory=list)

    def take(self, results: Any, handler: Handler, cause: Context) -> None:
        """Sort what a handler returned into rows, messages, effects and timers."""
        if results is None:
            return
        for result in (results,) if isinstance(results, (Message, Row, Later)) else results:
            if isinstance(result, Row):
                if result._meta.app_label != self.service or handler.kind == "performs":
                    raise WiringError(f"{handler.name} may not add {type(result).__name__} rows")
                self.workspace.add(result, cause.tenant)
            else:
                self._send(result, handler, cause)

    def _send(self, result: Message | Later, handler: Handler, cause: Context) -> None:
        if handler.kind == "projects":
            raise WiringError(f"{handler.name} is a projection and may not send messages")
        later = isinstance(result, Later)
        item = outgoing(result.message if isinstance(result, Later) else result, cause)
        effect = performer_of(type(item.message))
        due = result.at if isinstance(result, Later) else cause.now
        if item.contract.kind == "event" and item.contract.service != self.service:
            raise WiringError(
                f"{handler.name} sends {item.contract.name}, an event of another service"
            )
        if effect is not None:
            if effect.service != self.service:
                raise WiringError(
                    f"{handler.name} asks for {effect.name}, an effect of another service"
                )
            self.effects.append(Intent(item, effect, due))
        elif later and item.contract.kind == "event":
            raise WiringError(f"{handler.name}: an event states what happened; it cannot be due")
        elif later:
            self.timers.append((item, due))
        else:
            self.messages.append(item)

    def writes(self, tables: ServiceTables) -> list[Statement]:
        """The statements for rows, effects and timers, in lock order; the log comes later."""
        statements = self.workspace.writes()
        if self.effects:
            rows = [(intent.envelope, intent.values()) for intent in self.effects]
            statements.append(insert_with_due_time(tables.effect._meta.db_table, EFFECT, rows))
        if self.timers:
            timed = [
                (item.envelope(), (item.message_id, item.cause.now, due))
                for item, due in self.timers
            ]
            statements.append(insert_with_due_time(tables.timer._meta.db_table, TIMER, timed))
        return statements

    def appends(self, tables: ServiceTables) -> list[Statement]:
        """The statement that appends the messages to the log, if any: the last before COMMIT."""
        return [append(tables, self.messages)] if self.messages else []


def workspace_for(deliveries: Sequence[Delivery]) -> Workspace:
    """A workspace that knows which rows these deliveries need.

    A delivery whose keys cannot be found in its message is failed.
    """
    workspace = Workspace()
    for delivery in deliveries:
        try:
            delivery.want(workspace)
        except Exception as error:
            delivery.error = describe_with_place(error)
    return workspace


def run(service: str, deliveries: Sequence[Delivery], workspace: Workspace, now: datetime) -> Work:
    """Run all deliveries in order; those whose handler raises get an `error` and no effect.

    Later deliveries of a failed one's stream to the same handler are failed with it. Raises
    TooManyFailures when starting over does not pay.
    """
    for _ in range(MOST_RESTARTS):
        workspace.start_over()
        work = Work(service, workspace)
        if _run_once(deliveries, work, now):
            return work
    raise TooManyFailures


def _run_once(deliveries: Sequence[Delivery], work: Work, now: datetime) -> bool:
    held_back: set[tuple[str, str, str]] = set()
    clock = time.perf_counter_ns
    for delivery in deliveries:
        if held_back and delivery.error is None and delivery.stream in held_back:
            delivery.error = ""
        if delivery.error is not None:
            if not delivery.given_up:
                held_back.add(delivery.stream)
            continue
        started = clock()
        try:
            call(delivery, work, now)
        except Exception as error:
            delivery.error = describe_with_place(error)
            return False
        delivery.ran_us = (clock() - started) // 1000
    return True


def call(delivery: Delivery, work: Work, now: datetime) -> None:
    """Call one handler with its rows and take what it returns."""
    handler, stored = delivery.handler, delivery.stored
    context = stored.context(now)
    arguments = work.workspace.arguments(handler, delivery.wanted)
    if handler.context_parameter:
        arguments[handler.context_parameter] = context
    work.take(handler.function(delivery.message, **arguments), handler, context)
