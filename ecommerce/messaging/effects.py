"""Calls that leave the process, outside any transaction.

Three commits' worth of care: the intent was committed by the handler that asked for the call; the
call runs in a thread with no transaction open and a stable key; the answer and the intent's end
are one commit, which a fencing token guards. A worker that lost its claim meanwhile drops its
answer, and whoever claimed the intent next asks the provider again by the same key.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connections

from . import parking
from .admission import Admission, admission
from .claims import ALWAYS, CLAIM_SECONDS, RECENT, Claim, ends, take, take_admitted
from .database import Connection
from .delivery import Delivery, run, workspace_for
from .errors import Fenced, Retry, describe, describe_with_place
from .leases import Leases
from .log import Stored, outgoing
from .messages import Message, contract_of
from .names import carried_out_here
from .registry import Handler, handlers_of
from .services import ServiceConfig
from .transactions import ask, commit, fenced, lost, rollback

logger = logging.getLogger(__name__)

THREADS = 16
"""Calls at the same time in one worker."""
FEWEST_CALLS, MOST_CALLS = 16, 128
"""Intents claimed at a time for one service: as many as its slowest call leaves time for."""
MOST_LOST_CLAIMS = 3
"""How many workers may vanish during a call before it is given up."""


@dataclass(eq=False)
class Effects:
    """The calls of one service in one worker.

    With `leases` it takes the intents of the partitions that this worker holds, so that an order
    stays with one worker; what waits for longer than that takes, it finds when it looks closely.
    """

    service: ServiceConfig
    worker: str
    pool: ThreadPoolExecutor
    finished_event: threading.Event
    topics: frozenset[str] | None = None
    """What it takes, when not everything."""
    leases: Leases | None = None
    in_flight: set[Future[Claim]] = field(default_factory=set)
    abroad: bool = False
    """Whether answers have sent messages to partitions that this worker does not hold."""
    _most: int = FEWEST_CALLS
    _more: bool = True
    """Whether more may be due than was claimed last."""

    def __post_init__(self) -> None:
        self.admission: Admission | None = admission(self.service, self.topics)

    def step(self, conn: Connection, *, closely: bool = True, asked: bool = True) -> int:
        """Record the answers that are in, and start calls that are due; return how many.

        Looking closely finds every intent that is due, otherwise those of the last seconds. Unless
        `asked` to, it looks only when there were some the last time.
        """
        finished = self._finished()
        self._record(conn, finished)
        claims = []
        room = self._most - len(self.in_flight)
        if asked or self._more:
            claims = self._claim(conn, room, closely=closely)
            claims = carried_out_here(conn, self.service.tables, claims)
            self._more = bool(claims) or room <= 0
        for claim in claims:
            future = self.pool.submit(_call, claim)
            self.in_flight.add(future)
            future.add_done_callback(lambda _: self.finished_event.set())
        return len(finished) + len(claims)

    def finish(self, conn: Connection, seconds: float) -> None:
        """Wait for the calls in flight, at most so long, and record their answers."""
        deadline = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < deadline:
            self.finished_event.wait(0.1)
            self.finished_event.clear()
            self._record(conn, self._finished())

    def _finished(self) -> list[Claim]:
        done = [future for future in self.in_flight if future.done()]
        self.in_flight.difference_update(done)
        claims = [future.result() for future in done]
        if claims:
            slowest = max(claim.delivery.ran_us for claim in claims) / 1e6
            fitting = int(THREADS * CLAIM_SECONDS / 4 / max(slowest, 0.001))
            self._most = min(max(fitting, FEWEST_CALLS), MOST_CALLS)
        return claims

    def _claim(self, conn: Connection, most: int, *, closely: bool = True) -> list[Claim]:
        if most <= 0:
            return []
        tables = self.service.tables
        if self.admission is not None:
            with conn.transaction():
                return take_admitted(conn, tables, self.admission.admit(conn, most))
        if closely or self.leases is None:
            return take(conn, tables, most, range(settings.MESSAGING_PARTITIONS), ALWAYS)
        return take(conn, tables, most, sorted(self.leases.held), RECENT)

    def _record(self, conn: Connection, claims: Sequence[Claim]) -> None:
        """Commit the answers of claims that are still ours; the others' are dropped."""
        if not claims:
            return
        try:
            self._settle(conn, claims)
        except Fenced:
            self._record(conn, self._ours(conn, claims))
        except Exception as error:
            if lost(error, conn):
                raise
            self._refused(conn, claims, error)

    def _refused(self, conn: Connection, claims: Sequence[Claim], error: Exception) -> None:
        """The database refuses these answers: record them one by one, then through the log, and
        at last as failed."""
        (claim, *others) = claims
        if others:
            for each in claims:
                self._record(conn, [each])
        elif claim.at_once:
            claim.at_once = False
            self._record(conn, claims)
        elif claim.delivery.error is None:
            claim.delivery.error = describe(error)
            self._record(conn, claims)
        else:
            raise error

    def _ours(self, conn: Connection, claims: Sequence[Claim]) -> list[Claim]:
        rows = conn.execute(
            f"""SELECT token FROM "{self.service.tables.effect._meta.db_table}"
                WHERE token = ANY(%b::uuid[]) AND id = ANY(%b::uuid[])
                  AND due_at > messaging_now()""",
            ([claim.token for claim in claims], [claim.id for claim in claims]),
        ).fetchall()
        kept = {token for (token,) in rows}
        for claim in claims:
            if claim.token not in kept:
                logger.warning(
                    "a late answer of %s to %s was dropped", claim.delivery.handler.name, claim.id
                )
        return [claim for claim in claims if claim.token in kept]

    def _settle(self, conn: Connection, claims: Sequence[Claim]) -> None:
        """Commit answers and the ends of their intents. Raises Fenced when one is not ours."""
        tables, service = self.service.tables, self.service.label
        answers = [answer for claim in claims for answer in _answers(claim, service)]
        deliveries = [answer.delivery for answer in answers if answer.delivery]
        workspace = workspace_for(deliveries)
        try:
            with fenced(), conn.pipeline():
                conn.execute("BEGIN")
                for statement in ends(tables, claims):
                    conn.execute(*statement)
                partitions = sorted({delivery.stored.partition for delivery in deliveries})
                state = parking.state(conn, [(tables, partitions)])
                cursors = ask(conn, workspace)
            now, (held_back,) = parking.stated(state)
            workspace.fetched(cursors)
            for delivery in deliveries:
                if delivery.stream in held_back:
                    delivery.error = ""
            work = run(service, deliveries, workspace, now)
            for answer in answers:
                if answer.delivery is None or answer.delivery.error is not None:
                    claim = answer.claim.delivery
                    work.take(answer.result, claim.handler, claim.stored.context(now))
            carried_out = [claim.delivery for claim in claims]
            carried_out += [delivery for delivery in deliveries if delivery.error is None]
            commit(
                conn,
                [
                    *work.writes(tables),
                    *parking.record_effects(tables, carried_out, now, self.worker),
                    *work.appends(tables),
                ],
            )
            held = self.leases.held if self.leases else ()
            self.abroad = self.abroad or any(m.partition not in held for m in work.messages)
        except BaseException:
            rollback(conn)
            raise


@dataclass
class Answer:
    """One result of a call. A command of its own service is carried out at once: `delivery`."""

    claim: Claim
    result: Any
    delivery: Delivery | None = None


def _answers(claim: Claim, service: str) -> Iterator[Answer]:
    if claim.delivery.error is not None or claim.results is None:
        return
    results = claim.results if isinstance(claim.results, list) else [claim.results]
    stored = claim.delivery.stored
    for result in results:
        handler = _handler_of(result, service) if claim.at_once else None
        if handler is None:
            yield Answer(claim, result)
        else:
            item = outgoing(result, stored.context(stored.recorded_at))
            command = Stored(*(0, *item.envelope(), stored.recorded_at))
            yield Answer(claim, result, Delivery(command, result, handler))


def _handler_of(result: Any, service: str) -> Handler | None:
    if not isinstance(result, Message) or contract_of(result).kind != "command":
        return None
    found = handlers_of(type(result), service)
    return found[0] if found and found[0].kind == "handles" else None


def _call(claim: Claim) -> Claim:
    delivery = claim.delivery
    handler = delivery.handler
    started = time.perf_counter_ns()
    if delivery.error is not None:
        return claim
    try:
        if claim.lost >= MOST_LOST_CLAIMS:
            delivery.attempt, delivery.reason = parking.GIVE_UP, "lost-calls"
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
