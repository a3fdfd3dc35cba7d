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
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from . import parking
from .admission import Admission, admission
from .calls import carry_out, grouped
from .claims import CLAIM_SECONDS, LATE, PROMPT, Claim, Since, ends, part, take, take_admitted
from .database import Connection
from .delivery import Delivery, run, workspace_for
from .drain import Drain
from .errors import Fenced, describe
from .log import Stored, outgoing
from .messages import Message, contract_of
from .names import carried_out_here
from .registry import Handler, handlers_of
from .services import ServiceConfig
from .transactions import ask, commit, fenced, lost, rollback

logger = logging.getLogger(__name__)

THREADS = 16
"""Calls at the same time in one worker."""
FEWEST_CALLS, MOST_CALLS = 16, 512
"""Intents claimed at a time for one service: as many as its slowest call leaves time for."""
MOST_TOGETHER = 50
"""Intents that a handler which takes several is called with at a time; as many as leave time."""
CALLED_SECONDS = CLAIM_SECONDS / 4
"""By then the calls for what was claimed at a time should be through."""


@dataclass(eq=False)
class Effects:
    """The calls of one service in one worker.

    With the `drain` of its deliveries it takes the intents that these have claimed, and those of the
    partitions that this worker holds, so that an order stays with one worker; all others it finds
    when it looks closely.
    """

    service: ServiceConfig
    worker: str
    pool: ThreadPoolExecutor
    finished_event: threading.Event
    topics: frozenset[str] | None = None
    """What it takes, when not everything."""
    drain: Drain | None = None
    since: Since = field(default_factory=Since)
    in_flight: dict[Future[list[Claim]], list[Claim]] = field(default_factory=dict)
    """The calls under way, and the intents that each is about."""
    unrecorded: list[Claim] = field(default_factory=list)
    """Calls that are over, and whose answers were not recorded because the connection was lost."""
    answered: bool = False
    """Whether answers were recorded of late."""
    abroad: bool = False
    """Whether they have sent messages to partitions that this worker does not hold."""
    _slowest: float = CALLED_SECONDS
    """Seconds that an intent took lately, at most."""
    _more: bool = True
    """Whether more may be due than was claimed last."""

    def __post_init__(self) -> None:
        self.admission: Admission | None = admission(self.service, self.topics)
        self._tell_room()

    def step(self, conn: Connection, *, closely: bool = True, asked: bool = True) -> int:
        """Record the answers that are in, and start calls that are due; return how many.

        Looking closely finds those of all partitions, otherwise of the worker's own. Unless `asked`
        to, here or by the deliveries, it looks only when there may be more than the last time.
        """
        finished = self._record_finished(conn)
        started = self._start(self._handed_over())
        room = self._room
        asked = asked or any(claim.alone for claim in finished)
        if self.drain is not None and self.drain.effects.is_set():
            self.drain.effects.clear()
            asked = True
        if asked or self._more:
            claims = self._claim(conn, room, closely=closely)
            self._more = room <= 0 or len(claims) >= (1 if self.admission else part(room))
            started += self._start(carried_out_here(conn, self.service.tables, claims))
        self._tell_room()
        return len(finished) + started

    def finish(self, conn: Connection, seconds: float) -> None:
        """Make the calls that are claimed, wait for all in flight, at most so long, and record their
        answers."""
        deadline = time.monotonic() + seconds
        self._start(self._handed_over())
        while self.in_flight and time.monotonic() < deadline:
            self.finished_event.wait(0.1)
            self.finished_event.clear()
            self._record_finished(conn)

    @property
    def busy(self) -> bool:
        """Whether there are calls to make or to wait for that are claimed already."""
        claimed = self.drain.claimed if self.drain else ()
        return bool(self.in_flight or self.unrecorded or claimed)

    @property
    def _room(self) -> int:
        return self._most - sum(map(len, self.in_flight.values()))

    @property
    def _most(self) -> int:
        fitting = int(THREADS * CALLED_SECONDS / self._slowest)
        return min(max(fitting, FEWEST_CALLS), MOST_CALLS)

    @property
    def _together(self) -> int:
        return min(max(int(CALLED_SECONDS / self._slowest), 1), MOST_TOGETHER)

    def _tell_room(self) -> None:
        """Let the deliveries know how much they may claim; nothing where a policy has to admit it."""
        if self.drain is not None and self.admission is None:
            self.drain.room = self._room

    def _handed_over(self) -> list[Claim]:
        """What the deliveries have claimed."""
        if self.drain is None:
            return []
        return [self.drain.claimed.popleft() for _ in range(len(self.drain.claimed))]

    def _start(self, claims: Sequence[Claim]) -> int:
        """Have these calls made; return how many there are."""
        for each in grouped(claims, self._together):
            future = self.pool.submit(carry_out, each)
            self.in_flight[future] = each
            future.add_done_callback(lambda _: self.finished_event.set())
        return len(claims)

    def _finished(self) -> list[Claim]:
        done = [future for future in self.in_flight if future.done()]
        claims = [claim for future in done for claim in future.result()]
        for future in done:
            del self.in_flight[future]
        if claims:
            self._slowest = max(0.001, *(claim.delivery.ran_us / 1e6 for claim in claims))
        return claims

    def _record_finished(self, conn: Connection) -> list[Claim]:
        """Record the answers that are in; return the calls. Those that a lost connection keeps from
        being recorded are tried again: another call would come only when their claims have lapsed."""
        finished, self.unrecorded = self.unrecorded + self._finished(), []
        try:
            self._record(conn, finished)
        except Exception as error:
            if lost(error, conn):
                self.unrecorded = finished
            raise
        return finished

    def _claim(self, conn: Connection, most: int, *, closely: bool = True) -> list[Claim]:
        if most <= 0:
            return []
        tables = self.service.tables
        alone = not any(claim.alone for claims in self.in_flight.values() for claim in claims)
        if self.admission is not None:
            with conn.transaction():
                admitted = self.admission.admit(conn, most)
                return take_admitted(conn, tables, admitted, alone=alone)
        if closely or self.drain is None:
            partitions: Collection[int] = range(settings.MESSAGING_PARTITIONS)
            return take(conn, tables, most, partitions, self.since, LATE, alone=alone)
        mine = self.drain.leases.held.keys()
        return take(conn, tables, most, mine, self.since, PROMPT, alone=alone)

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
            statements = [
                *work.writes(tables),
                *parking.record_effects(tables, carried_out, now, self.worker),
            ]
            appended = commit(conn, statements, work.appends(tables))
            if self.drain is not None:
                self.drain.appended += appended
            self.answered = True
            held = self.drain.leases.held if self.drain else ()
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
