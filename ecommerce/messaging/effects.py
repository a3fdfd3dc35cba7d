"""Calls that leave the process, outside any transaction.

Three commits' worth of care: the intent was committed by the handler that asked for the call; the
call runs in a thread with no transaction open and a stable key; the answer and the intent's end
are one commit, which a fencing token guards. A worker that lost its claim meanwhile drops its
answer, and whoever claimed the intent next asks the provider again by the same key.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connections

from . import parking
from .database import Connection
from .delivery import Delivery, Work
from .errors import ContractError, Retry, describe, describe_with_place
from .log import ENVELOPE, Stored
from .messages import Message
from .registry import handler_named
from .rows import Statement, Workspace
from .services import ServiceConfig
from .transactions import lost, rollback

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 12.0
"""How long a claim lasts; a provider's own time-out must be well below it."""
MOST_CALLS = 16
"""Calls in flight for one service in one worker."""
MOST_LOST_CLAIMS = 3
"""How many workers may vanish during a call before it is given up."""


@dataclass
class Claim:
    """One intent that this worker may carry out until the claim lapses."""

    id: Any
    token: Any
    attempts: int
    lost: int
    delivery: Delivery
    results: Any = None


@dataclass(eq=False)
class Effects:
    """The calls of one service in one worker."""

    service: ServiceConfig
    worker: str
    pool: ThreadPoolExecutor
    finished_event: threading.Event
    in_flight: set[Future[Claim]] = field(default_factory=set)

    def step(self, conn: Connection) -> int:
        """Record the answers that are in, and start calls that are due; return how many."""
        finished = [future for future in self.in_flight if future.done()]
        if finished:
            self.in_flight.difference_update(finished)
            self._record(conn, [future.result() for future in finished])
        claims = self._claim(conn, MOST_CALLS - len(self.in_flight))
        for claim in claims:
            future = self.pool.submit(_call, claim)
            self.in_flight.add(future)
            future.add_done_callback(lambda _: self.finished_event.set())
        return len(finished) + len(claims)

    def finished(self) -> bool:
        """Whether an answer is in that has not been recorded."""
        return any(future.done() for future in self.in_flight)

    def finish(self, conn: Connection, seconds: float) -> None:
        """Wait for the calls in flight, at most so long, and record their answers."""
        deadline = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < deadline:
            self.finished_event.wait(0.1)
            self.finished_event.clear()
            done = [future for future in self.in_flight if future.done()]
            self.in_flight.difference_update(done)
            self._record(conn, [future.result() for future in done])

    def _claim(self, conn: Connection, most: int) -> list[Claim]:
        if most <= 0:
            return []
        effects = self.service.tables.effect._meta.db_table
        names = ", ".join(f"e.{name}" for name in ENVELOPE)
        rows = conn.execute(
            f"""WITH due AS (
                    SELECT id, due_at FROM "{effects}" WHERE due_at <= messaging_now()
                    ORDER BY due_at LIMIT %b::int FOR UPDATE SKIP LOCKED)
                UPDATE "{effects}" e SET token = gen_random_uuid(), claims = claims + 1,
                    due_at = messaging_now() + make_interval(secs => %b::float8)
                FROM due WHERE e.id = due.id
                RETURNING e.id, e.token, e.attempts, e.claims, e.handler, due.due_at,
                          {names}, e.recorded_at""",
            (most, CLAIM_SECONDS),
        ).fetchall()
        return [_claimed(row) for row in rows]

    def _record(self, conn: Connection, claims: Sequence[Claim]) -> None:
        """Commit the answers of claims that are still ours; the others' are dropped."""
        if not claims:
            return
        tables = self.service.tables
        effects = tables.effect._meta.db_table
        conn.execute("BEGIN")
        try:
            rows = conn.execute(
                f"""SELECT e.id, u.token, messaging_now() FROM "{effects}" e
                    JOIN unnest(%b::uuid[], %b::uuid[]) AS u(id, token)
                      ON e.id = u.id AND e.token = u.token
                    WHERE e.due_at > messaging_now() ORDER BY e.id FOR UPDATE OF e""",
                ([claim.id for claim in claims], [claim.token for claim in claims]),
            ).fetchall()
            ours = {(effect, token): now for effect, token, now in rows}
            kept = [claim for claim in claims if (claim.id, claim.token) in ours]
            if len(kept) < len(claims):
                logger.warning("%d late answers dropped", len(claims) - len(kept))
            if kept:
                self._settle(conn, kept, rows[0][2])
            conn.execute("COMMIT")
        except BaseException as error:
            rollback(conn)
            if lost(error, conn) or not isinstance(error, Exception):
                raise
            self._refused(conn, claims, error)

    def _refused(self, conn: Connection, claims: Sequence[Claim], error: Exception) -> None:
        """The database refuses these answers: record them one by one, that one as failed."""
        if len(claims) > 1:
            for claim in claims:
                self._record(conn, [claim])
        elif claims[0].delivery.error is None:
            claims[0].delivery.error = describe(error)
            self._record(conn, claims)
        else:
            raise error

    def _settle(self, conn: Connection, claims: Sequence[Claim], now: datetime) -> None:
        tables = self.service.tables
        effects = tables.effect._meta.db_table
        work = Work(self.service.label, Workspace())
        for claim in claims:
            if claim.delivery.error is None:
                cause = claim.delivery.stored.context(now)
                work.take(claim.results, claim.delivery.handler, cause)
        again = [c for c in claims if c.delivery.error and not c.delivery.given_up]
        ended = [c for c in claims if not c.delivery.error or c.delivery.given_up]
        statements: list[Statement] = [
            (f'DELETE FROM "{effects}" WHERE id = ANY(%b::uuid[])', ([c.id for c in ended],))
        ]
        for claim in again:
            wait = claim.delivery.handler.retry_after[claim.delivery.attempt - 1]
            statements.append((
                f"""UPDATE "{effects}" SET attempts = %b::int, claims = %b::int, token = NULL, error = %b,
                        due_at = messaging_now() + make_interval(secs => %b::float8)
                    WHERE id = %b::uuid""",
                (claim.delivery.attempt, claim.delivery.attempt + claim.lost,
                 claim.delivery.error, float(wait), claim.id),
            ))  # fmt: skip
        statements += work.writes(tables)
        statements += parking.record_effects(tables, [c.delivery for c in claims], now, self.worker)
        statements += work.appends(tables)
        with conn.pipeline():
            for statement in statements:
                conn.execute(*statement)


def next_due(conn: Connection, effects: Sequence[Effects]) -> dict[Effects, float]:
    """Seconds until each service's next intent is due, in one statement; infinite without one."""
    questions = ", ".join(
        f"""(SELECT extract(epoch FROM min(due_at) - messaging_now())::float8
             FROM "{each.service.tables.effect._meta.db_table}")"""
        for each in effects
    )
    row = conn.execute(f"SELECT {questions}").fetchone() or ()
    return {
        each: math.inf if seconds is None else seconds
        for each, seconds in zip(effects, row, strict=True)
    }


def _claimed(row: Sequence[Any]) -> Claim:
    effect, token, attempts, claims, name, due_at, *envelope, recorded_at = row
    stored = Stored(**dict(zip(ENVELOPE, envelope, strict=True)), recorded_at=recorded_at)
    delivery = Delivery(stored, Message(), handler_named(name), attempts + 1, due_at=due_at)
    try:
        delivery.message = stored.message()
    except ContractError as error:
        delivery.attempt, delivery.error = parking.GIVE_UP, f"unreadable: {error}"
    return Claim(effect, token, attempts, claims - attempts - 1, delivery)


def _call(claim: Claim) -> Claim:
    delivery = claim.delivery
    handler = delivery.handler
    started = time.perf_counter_ns()
    if delivery.error is not None:
        return claim
    try:
        if claim.lost >= MOST_LOST_CLAIMS:
            delivery.attempt = parking.GIVE_UP
            raise RuntimeError(f"{claim.lost} workers were lost during this call")
        arguments = {}
        if handler.context_parameter:
            stored = delivery.stored
            arguments[handler.context_parameter] = stored.context(stored.recorded_at)
        results = handler.function(delivery.message, **arguments)
        claim.results = list(results) if isinstance(results, (list, tuple)) else results
    except Retry as error:
        delivery.error = f"Retry: {error}"
    except Exception as error:
        delivery.error = describe_with_place(error)
    finally:
        connections.close_all()
    delivery.ran_us = (time.perf_counter_ns() - started) // 1000
    return claim
