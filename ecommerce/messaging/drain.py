"""One service's deliveries, in batches, by whoever holds its partitions.

`Drain.step` reads what is new in every source, over all partitions held, in order; loads all rows
at once; runs the handlers; and writes everything with one commit that also moves the positions.
Three round trips for up to a few hundred messages.

What can go wrong, and what happens:

- a handler raises: that delivery is parked, and so are later ones of its stream and handler;
- the database refuses the batch: it is tried again, then message by message, then handler by
  handler, until only what is refused is parked;
- the lease was lost: nothing is written, and the partitions are forgotten;
- the process dies: whoever takes the partitions over runs the range one by one, counting, so that
  a message which kills its worker ends as a dead letter.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import psycopg
from django.conf import settings

from . import parking
from .database import Connection
from .delivery import Delivery, Work, TooManyFailures, run, workspace_for
from .errors import ContractError, Fenced
from .leases import Leases
from .log import Stored, read, stored
from .messages import contract_named, contracts
from .registry import handlers, handlers_of
from .rows import Statement, Workspace
from .services import ServiceConfig

logger = logging.getLogger(__name__)

BATCH = 200
"""Messages read from one source at a time."""
MOST_TRIES = 3
"""How often a batch that the database refuses is tried whole."""
MOST_DEATHS = 3
"""How many workers a message may kill before it is given up."""
FENCED = "MF001"

Positions = dict[str, int]


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
        messages, positions, held_back, now = self._fetch(conn, horizons, 1 if careful else limit)
        if not messages:
            self.leases.advance(positions)
            if careful:
                self.leases.trust_again(conn)
            return 0
        if careful:
            self._carefully(conn, messages, held_back, now)
        else:
            self._deliver(conn, messages, positions, held_back, now)
        return len(messages)

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
            self._commit(conn, deliveries, {}, now)
            retried += len(deliveries)
        return retried

    def _fetch(
        self, conn: Connection, horizons: Mapping[str, int], limit: int
    ) -> tuple[list[Stored], Positions, parking.HeldBack, datetime]:
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
        return merged, positions, set(parked.fetchall()), now

    def _deliver(
        self,
        conn: Connection,
        messages: Sequence[Stored],
        positions: Positions,
        held_back: parking.HeldBack,
        now: datetime,
    ) -> None:
        for attempt in range(1, MOST_TRIES + 1):
            deliveries = self._deliveries(messages, held_back)
            try:
                return self._commit(conn, deliveries, positions, now)
            except Fenced:
                raise
            except Exception as error:
                if lost(error, conn):
                    raise
                logger.info("batch of %d refused (try %d): %s", len(messages), attempt, error)
                if isinstance(error, TooManyFailures):
                    break
        if len(messages) == 1:
            return self._handler_by_handler(conn, messages[0], positions, held_back, now)
        for message in messages:
            self._deliver(conn, [message], {message.source: message.position}, held_back, now)
            held_back = set(
                parking.held_back(conn, self.tables, sorted(self.leases.held)).fetchall()
            )
        self._commit(conn, [], positions, now)

    def _handler_by_handler(
        self,
        conn: Connection,
        message: Stored,
        positions: Positions,
        held_back: parking.HeldBack,
        now: datetime,
    ) -> None:
        """The database refuses this message: find by trial whose writes it refuses, park those."""
        deliveries = self._deliveries([message], held_back)
        for delivery in deliveries:
            if delivery.error is None:
                delivery.error = self._trial(conn, delivery, now)
        self._commit(conn, deliveries, positions, now)

    def _trial(self, conn: Connection, delivery: Delivery, now: datetime) -> str | None:
        try:
            with conn.transaction(force_rollback=True):
                work = self._run(conn, [delivery], now)
                for statement in (*work.writes(self.tables), *work.appends(self.tables)):
                    conn.execute(*statement)
        except Exception as error:
            if lost(error, conn):
                raise
            return f"{type(error).__name__}: {error}"
        return delivery.error

    def _carefully(
        self,
        conn: Connection,
        messages: Sequence[Stored],
        held_back: parking.HeldBack,
        now: datetime,
    ) -> None:
        message = messages[0]
        deaths = self.leases.suspect(conn, f"{message.source}:{message.position}") - 1
        positions = {message.source: message.position}
        if deaths >= MOST_DEATHS:
            deliveries = self._deliveries([message], held_back)
            for delivery in deliveries:
                delivery.error = f"it was under way when {deaths} workers died"
                delivery.attempt = parking.GIVE_UP
            self._commit(conn, deliveries, positions, now)
        else:
            self._deliver(conn, [message], positions, held_back, now)
        self._singly += 1
        if self._singly >= BATCH * len(self.sources):
            self._singly = 0
            self.leases.trust_again(conn)

    def _deliveries(
        self, messages: Iterable[Stored], held_back: parking.HeldBack
    ) -> list[Delivery]:
        deliveries = []
        for message in messages:
            listeners = handlers_of(contract_named(message.name).type, self.name)
            try:
                decoded = message.message()
            except ContractError as error:
                deliveries += parking.unreadable(message, listeners, error)
                continue
            for handler in listeners:
                delivery = Delivery(message, decoded, handler)
                if delivery.stream in held_back:
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


def load(conn: Connection, workspace: Workspace) -> None:
    """Fetch and lock all rows that a workspace wants, in one round trip."""
    with conn.pipeline():
        cursors = [conn.execute(*select, binary=True) for select in workspace.selects()]
    workspace.fetched(cursors)


def rollback(conn: Connection) -> None:
    """End a failed transaction, if the connection still lives."""
    if not conn.closed:
        try:
            conn.execute("ROLLBACK")
        except psycopg.OperationalError:
            conn.close()


def lost(error: BaseException, conn: Connection) -> bool:
    """Whether an error means that the connection is gone, not that a statement was refused."""
    return conn.closed or isinstance(error, psycopg.InterfaceError)


def subscribed_names(service: str, source: str) -> list[str]:
    """The messages that a service handles and that a source can hold.

    Commands stand in the log of whoever sent them, events in that of their own service.
    """
    wanted = {
        contract.name
        for handler in handlers(service)
        if handler.kind != "performs"
        for contract in contracts()
        if contract.type in handler.message_types
    }
    return sorted(
        name
        for name in wanted
        if contract_named(name).kind == "command"
        or source in (contract_named(name).service, "inbox")
    )
