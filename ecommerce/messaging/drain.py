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

import heapq
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from django.conf import settings

from . import parking
from .database import Connection
from .delivery import Delivery, TooManyFailures, Work, run, workspace_for
from .errors import ContractError, Fenced, describe
from .leases import Leases
from .log import Stored, read, stored
from .messages import contract_named
from .registry import handlers_of
from .rows import Statement
from .services import ServiceConfig
from .subscriptions import subscribed_names
from .transactions import load, lost, rollback

logger = logging.getLogger(__name__)

BATCH = 500
"""Messages read from one source at a time."""
CAREFULLY = 200
"""Messages that run alone before batches are trusted again, for each source."""
MOST_TRIES = 3
"""How often a batch that the database refuses is tried whole."""
MOST_DEATHS = 3
"""How many workers a message may kill before it is given up."""
FENCED = "MF001"

Positions = dict[str, int]


@dataclass(frozen=True)
class Batch:
    """What was read: messages in order, how far that brings each source, and the clock.

    `held_back` are the streams that have a parked delivery, by handler.
    """

    messages: Sequence[Stored]
    positions: Positions
    held_back: parking.HeldBack
    now: datetime


class Drain:
    """The deliveries of one service in one worker."""

    def __init__(self, service: ServiceConfig, sources: Mapping[str, str], worker: str) -> None:
        self.service = service
        self.name = service.label
        self.tables = service.tables
        self.sources = dict(sources)
        """The log or inbox table of each source that this service can read."""
        self.names = {source: subscribed_names(self.name, source) for source in sources}
        self.leases = Leases(self.tables, worker)
        self.worker = worker
        self._singly = 0

    def step(self, conn: Connection, horizons: Mapping[str, int], limit: int = BATCH) -> int:
        """Deliver what is new up to the horizons; return how many messages were read.

        Raises Fenced when the lease was lost, psycopg.OperationalError when the database was.
        """
        careful = self.leases.careful
        if not any(self.leases.behind(source, horizons[source]) for source in self.sources):
            if self.leases.taken_over:
                self.leases.trust_again(conn)
            return 0
        batch = self._fetch(conn, horizons, 1 if careful else limit)
        if careful and batch.messages:
            self._carefully(conn, batch)
            return len(batch.messages)
        if batch.messages:
            self._deliver(conn, batch)
        else:
            self.leases.advance(batch.positions)
        if self.leases.taken_over:
            self.leases.trust_again(conn)
        return len(batch.messages)

    def horizons(self, by_table: Mapping[str, int]) -> dict[str, int]:
        """How far each of this service's sources can be read."""
        return {source: by_table.get(log, 0) for source, log in self.sources.items()}

    def retry_parked(self, conn: Connection) -> int:
        """Try again the parked deliveries that are due, each with those that wait behind it."""
        if not self.leases.held:
            return 0
        retried = 0
        for group in parking.due(conn, self.tables, sorted(self.leases.held)):
            deliveries, now = parking.fetch(conn, self.sources, group)
            if self.leases.careful:
                deliveries = deliveries[:1]
                self._count_deaths(conn, f"parked:{deliveries[0].parked_id}", deliveries)
            try:
                self._commit(conn, deliveries, {}, now)
            except Fenced:
                raise
            except Exception as error:
                if lost(error, conn):
                    raise
                deliveries, now = parking.fetch(conn, self.sources, group[:1])
                self._by_trial(conn, deliveries, {}, now)
            retried += len(deliveries)
        return retried

    def _fetch(self, conn: Connection, horizons: Mapping[str, int], limit: int) -> Batch:
        partitions = settings.MESSAGING_PARTITIONS
        wanted = [
            source for source in self.sources if self.leases.behind(source, horizons.get(source, 0))
        ]
        with conn.pipeline():
            clock = conn.execute("SELECT messaging_now()")
            parked = parking.held_back(conn, self.tables, sorted(self.leases.held))
            cursors = {
                source: conn.execute(
                    *read(
                        self.sources[source],
                        self.leases.after(source, partitions),
                        horizons[source],
                        self.names[source],
                        limit,
                    ),
                    binary=True,
                )
                for source in wanted
            }
        (now,) = clock.fetchone() or (None,)
        assert now is not None
        positions, read_by_source = {}, []
        for source, cursor in cursors.items():
            rows = [stored(source, row) for row in cursor.fetchall()]
            positions[source] = rows[-1].position if len(rows) == limit else horizons[source]
            read_by_source.append(rows)
        merged = list(heapq.merge(*read_by_source, key=lambda message: message.recorded_at))
        return Batch(merged, positions, set(parked.fetchall()), now)

    def _deliver(self, conn: Connection, batch: Batch) -> None:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                self._commit(conn, self._deliveries(batch), batch.positions, batch.now)
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
            held_back = parking.held_back(conn, self.tables, sorted(self.leases.held)).fetchall()
            self._deliver(conn, _alone(message, replace(batch, held_back=set(held_back))))
        self._commit(conn, [], batch.positions, batch.now)

    def _handler_by_handler(self, conn: Connection, batch: Batch) -> None:
        """The database refuses a message: find by trial whose writes it refuses, park those."""
        self._by_trial(conn, self._deliveries(batch), batch.positions, batch.now)

    def _by_trial(
        self, conn: Connection, deliveries: list[Delivery], positions: Positions, now: datetime
    ) -> None:
        accepted: list[Delivery] = []
        for delivery in deliveries:
            if delivery.error is None:
                delivery.error = self._trial(conn, [*accepted, delivery], now)
            if delivery.error is None:
                accepted.append(delivery)
        self._commit(conn, deliveries, positions, now)

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
            self._commit(conn, deliveries, batch.positions, batch.now)
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
            delivery.attempt = parking.GIVE_UP
        return True

    def _deliveries(self, batch: Batch) -> list[Delivery]:
        deliveries = []
        for message in batch.messages:
            listeners = handlers_of(contract_named(message.name).type, self.name)
            try:
                decoded = message.message()
            except ContractError as error:
                deliveries += parking.unreadable(message, listeners, error)
                continue
            for handler in listeners:
                delivery = Delivery(message, decoded, handler)
                if delivery.stream in batch.held_back:
                    delivery.error = ""
                deliveries.append(delivery)
        return deliveries

    def _commit(
        self, conn: Connection, deliveries: list[Delivery], positions: Positions, now: datetime
    ) -> None:
        """Run the deliveries and commit everything, with the fence, in one go."""
        conn.execute("BEGIN")
        try:
            work = self._run(conn, deliveries, now)
            statements: list[Statement] = [
                *work.writes(self.tables),
                *parking.settle(self.tables, deliveries, now, self.worker),
                *self.leases.complete(positions),
                *work.appends(self.tables),
            ]
            with conn.pipeline():
                for statement in statements:
                    conn.execute(*statement)
                conn.execute("COMMIT")
        except psycopg.DatabaseError as error:
            rollback(conn)
            if error.sqlstate == FENCED:
                self.leases.held.clear()
                raise Fenced(f"{self.worker} lost its partitions of {self.name}") from error
            raise
        except BaseException:
            rollback(conn)
            raise
        self.leases.advance(positions)

    def _run(self, conn: Connection, deliveries: Sequence[Delivery], now: datetime) -> Work:
        workspace = workspace_for([d for d in deliveries if d.error is None])
        load(conn, workspace)
        return run(self.name, deliveries, workspace, now)


def _alone(message: Stored, batch: Batch) -> Batch:
    return replace(batch, messages=[message], positions={message.source: message.position})
