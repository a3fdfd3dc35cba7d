"""One service's deliveries, in batches, by whoever holds its partitions.

`Drain.step` reads what is new in every source, over all partitions held, in order; loads all rows
at once; runs the handlers; and writes everything with one commit that also moves the positions.
Three round trips for up to a few hundred messages.

What can go wrong, and what happens:

- a handler raises: that delivery is parked, and so are later ones of its stream and handler;
- the database refuses the batch: it is tried again, then message by message, then handler by
  handler, until only what is refused is parked;
- the lease was lost: nothing is written, and the partitions are forgotten;
- the process dies: whoever takes the partitions over runs the same range again. Should that one
  die, too, the next runs it one by one, counting, so that a message which kills its workers ends
  as a dead letter.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from . import parking
from .batches import BATCH, Batch, found, look
from .claims import Claim, claim_at_birth
from .database import Connection
from .delivery import Delivery, TooManyFailures, Work, run, workspace_for
from .errors import ContractError, Fenced, describe
from .leases import Leases, Reached
from .log import Appended, Stored, heads
from .messages import contract_named
from .registry import handlers, handlers_of
from .rows import Statement, Workspace
from .services import ServiceConfig
from .subscriptions import subscribed_names
from .tails import Tails
from .transactions import begin, commit, load, lost, rollback
from .wire import Answer

logger = logging.getLogger(__name__)

CAREFULLY = 200
"""Messages that run alone before batches are trusted again, for each source."""
MOST_TRIES = 3
"""How often a batch that the database refuses is tried whole."""
NOTED = 100
"""Commits that are noted between two looks. Without one of them, the database is asked."""
PLENTY = 100
"""Messages that are not cheaper delivered with more."""
MOST_DEATHS = 3
"""How many workers a message may kill before it is given up."""

NOWHERE_FURTHER = Reached({})


class Drain:
    """The deliveries of one service in one worker."""

    def __init__(self, service: ServiceConfig, sources: Mapping[str, str], worker: str) -> None:
        self.service = service
        self.name = service.label
        self.tables = service.tables
        self.sources = dict(sources)
        """The log or inbox table of each source that this service can read."""
        self.names = {source: frozenset(subscribed_names(self.name, source)) for source in sources}
        self._listeners = {
            name: handlers_of(contract_named(name).type, self.name)
            for names in self.names.values()
            for name in names
        }
        self._shown_only = frozenset(
            name
            for name, listeners in self._listeners.items()
            if all(handler.kind == "projects" for handler in listeners)
        )
        known = [handler.name for handler in handlers(service.label)]
        self.leases = Leases(self.tables, worker, known)
        self.worker = worker
        self.batch: Batch | None = None
        self.sent: set[int] = set()
        """The partitions of messages that batches have sent since this was last emptied."""
        self.appended: deque[Appended] = deque(maxlen=NOTED)
        """What batches and effects appended to the log last, for whoever follows horizons."""
        self.effects = threading.Event()
        """Set when they asked for effects that somebody has to claim."""
        self.claimed: deque[Claim] = deque()
        """Effects that they have claimed as they asked for them, for the performer to carry out."""
        self.room = 0
        """How many of those it can take."""
        self._singly = 0

    def step(self, conn: Connection, horizons: Mapping[str, int], limit: int = BATCH) -> int:
        """Deliver what is new up to the horizons; return how many messages were read.

        Raises Fenced when the lease was lost, psycopg.OperationalError when the database was.
        """
        look_for(conn, [self], {self.name: horizons}, limit=limit)
        return self.deliver(conn)

    def deliver(self, conn: Connection) -> int:
        """Deliver the batch that was found; return how many messages it had. Raises as `step`."""
        batch, self.batch = self.batch, None
        if batch is None:
            count = 0
        elif self.leases.careful:
            self._carefully(conn, batch)
            return 1
        else:
            count = len(batch.messages)
            self._deliver(conn, batch)
        if self.leases.taken_over:
            self.leases.trust_again(conn)
        return count

    @property
    def has_time(self) -> bool:
        """Whether it is little that was found, and nobody's work waits for it: a patient service has
        it, or only read models want it."""
        if self.batch is None or self.leases.taken_over or len(self.batch.messages) >= PLENTY:
            return False
        if self.service.patience:
            return True
        return all(message.name in self._shown_only for message in self.batch.messages)

    def horizons(self, by_table: Mapping[str, int]) -> dict[str, int]:
        """How far each of this service's sources can be read."""
        return {source: by_table.get(log, 0) for source, log in self.sources.items()}

    def retry_parked(self, conn: Connection) -> int:
        """Try again the parked deliveries that are due, each with those that wait behind it."""
        if not self.leases.held:
            return 0
        retried = 0
        for group in parking.due(conn, self.tables, sorted(self.leases.held)):
            deliveries, now = parking.fetch(conn, self.tables, self.sources, group)
            if self.leases.careful:
                deliveries = deliveries[:1]
                (first,) = deliveries
                # An attempt that failed is over, and no worker died of it.
                self._count_deaths(conn, f"parked:{first.parked_id}:{first.attempt}", deliveries)
            try:
                self._commit(conn, deliveries, NOWHERE_FURTHER, now)
            except Fenced:
                raise
            except Exception as error:
                if lost(error, conn):
                    raise
                deliveries, now = parking.fetch(conn, self.tables, self.sources, group[:1])
                self._by_trial(conn, deliveries, NOWHERE_FURTHER, now)
            retried += len(deliveries)
        return retried

    def _deliver(self, conn: Connection, batch: Batch) -> None:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                self._commit(conn, self._deliveries(batch), batch.reached, batch.now)
            except Fenced:
                raise
            except Exception as error:
                if (lost(error, conn) and attempt == MOST_TRIES) or conn.closed:
                    raise
                logger.info(
                    "batch of %d refused (%d): %s", len(batch.messages), attempt, describe(error)
                )
                if isinstance(error, TooManyFailures):
                    break
            else:
                return
        if len(batch.messages) == 1:
            self._handler_by_handler(conn, batch)
        else:
            self._one_by_one(conn, batch)

    def _one_by_one(self, conn: Connection, batch: Batch) -> None:
        for message in batch.messages:
            state = parking.state(conn, [(self.tables, sorted(self.leases.held))])
            _, (held_back,) = parking.stated(state)
            self._deliver(conn, _alone(message, replace(batch, held_back=held_back)))
        self._commit(conn, [], batch.reached, batch.now)

    def _handler_by_handler(self, conn: Connection, batch: Batch) -> None:
        """The database refuses a message: find by trial whose writes it refuses, park those."""
        self._by_trial(conn, self._deliveries(batch), batch.reached, batch.now)

    def _by_trial(
        self, conn: Connection, deliveries: list[Delivery], reached: Reached, now: datetime
    ) -> None:
        accepted: list[Delivery] = []
        for delivery in deliveries:
            if delivery.error is None:
                delivery.error = self._trial(conn, [*accepted, delivery], now)
            if delivery.error is None:
                accepted.append(delivery)
        self._commit(conn, deliveries, reached, now)

    def _trial(self, conn: Connection, deliveries: list[Delivery], now: datetime) -> str | None:
        """What the database, or the handler, says against the last of these after the others."""
        try:
            with conn.transaction(force_rollback=True):
                work = self._run(conn, deliveries, now)
                for statement in (*work.writes(self.tables), *work.appends(self.tables)):
                    conn.execute(*statement)
        except Exception as error:
            if lost(error, conn):
                raise
            return describe(error)
        return deliveries[-1].error

    def _carefully(self, conn: Connection, batch: Batch) -> None:
        message = batch.messages[0]
        batch = _alone(message, batch)
        deliveries = self._deliveries(batch)
        if self._count_deaths(conn, f"{message.source}:{message.position}", deliveries):
            self._commit(conn, deliveries, batch.reached, batch.now)
        else:
            self._deliver(conn, batch)
        self._singly += 1
        if self._singly >= CAREFULLY * len(self.sources):
            self._singly = 0
            self.leases.trust_again(conn)

    def _count_deaths(self, conn: Connection, what: str, deliveries: list[Delivery]) -> bool:
        """Note what is about to run alone; give it up if it has killed too many workers."""
        deaths = self.leases.suspect(conn, what) - 1
        if deaths < MOST_DEATHS:
            return False
        for delivery in deliveries:
            delivery.error = f"it was under way when {deaths} workers died"
            delivery.attempt, delivery.reason = parking.GIVE_UP, "killed-workers"
        return True

    def _deliveries(self, batch: Batch) -> list[Delivery]:
        deliveries = []
        for message in batch.messages:
            listeners = self._listeners[message.name]
            try:
                decoded = message.message()
            except ContractError as error:
                deliveries += parking.unreadable(message, listeners, error)
                continue
            for handler in listeners:
                delivery = Delivery(message, decoded, handler)
                if batch.held_back and delivery.stream in batch.held_back:
                    delivery.error = ""
                deliveries.append(delivery)
        return deliveries

    def _commit(
        self, conn: Connection, deliveries: list[Delivery], reached: Reached, now: datetime
    ) -> None:
        """Run the deliveries and commit everything, with the fence, in one go."""
        try:
            workspace = self._workspace(deliveries)
            begin(conn, workspace)
            work = run(self.name, deliveries, workspace, now)
            claims = claim_at_birth(work.effects, self.room, now) if self.room > 0 else []
            statements: list[Statement] = [
                *work.writes(self.tables),
                *parking.settle(self.tables, deliveries, now, self.worker),
                *self.leases.complete(reached, self._touched(deliveries)),
            ]
            self.appended += commit(conn, statements, work.appends(self.tables))
        except Fenced as error:
            rollback(conn)
            self.leases.held.clear()
            self.batch = None
            raise Fenced(f"{self.worker} lost its partitions of {self.name}") from error
        except BaseException:
            rollback(conn)
            self.leases.certain = self.leases.certain and not conn.closed
            raise
        self.leases.advance(reached)
        self.sent.update(item.partition for item in work.messages)
        self.room -= len(claims)
        self.claimed += claims
        if len(claims) < len(work.effects):
            self.effects.set()

    def _run(self, conn: Connection, deliveries: Sequence[Delivery], now: datetime) -> Work:
        workspace = self._workspace(deliveries)
        load(conn, workspace)
        return run(self.name, deliveries, workspace, now)

    def _touched(self, deliveries: Sequence[Delivery]) -> Collection[int]:
        """The partitions that these are about: only theirs need to be ours still."""
        return {delivery.stored.partition for delivery in deliveries} or self.leases.held.keys()

    def _workspace(self, deliveries: Sequence[Delivery]) -> Workspace:
        return workspace_for([delivery for delivery in deliveries if delivery.error is None])


def look_for(
    conn: Connection,
    drains: Sequence[Drain],
    horizons: Mapping[str, Mapping[str, int]],
    tails: Tails | None = None,
    logs: Sequence[str] = (),
    limit: int = BATCH,
) -> Answer | None:
    """Ask what is new for several services, by name up to their horizons, in one round trip: each
    gets a batch to deliver, or moves on when there is nothing. Returns the `heads` of these logs."""
    looks = []
    with conn.pipeline():
        ends = heads(conn, logs) if logs else None
        by_log = tails.ask(conn) if tails else {}
        for drain in drains:
            reads = (drain.sources, drain.names, horizons[drain.name], limit, by_log)
            asked = look(conn, drain.leases, *reads)
            if asked is not None:
                looks.append((drain, asked))
        held = [(drain.tables, sorted(drain.leases.held)) for drain, _ in looks]
        state = parking.state(conn, held) if looks else None
    if tails:
        tails.take()
    if state is None:
        return ends
    now, held_back = parking.stated(state)
    for (drain, asked), streams in zip(looks, held_back, strict=True):
        drain.batch = found(conn, asked, drain.leases, now, streams)
    return ends


def _alone(message: Stored, batch: Batch) -> Batch:
    return replace(batch, messages=[message], reached=batch.reached.by(message))
