"""Sends a source's log, batch by batch, to the inboxes in other databases: see `transports`.

One batch is under way to each target. The next follows when it is confirmed; the same is sent again
when that takes too long, with growing pauses. Whoever holds the source's first partition sends, so
one that hangs is followed by another when its lease has run out. Should there be two for a while,
or one that has forgotten what it sent, the targets drop what they have.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import psycopg

from . import wakeup
from .database import Connection, connect
from .drain import Drain
from .errors import BrokerAway
from .log import Stored, horizons, stored
from .relay import unread
from .services import services
from .subscriptions import subscribed_names
from .transports import RECEIVE, Batch, confirmed_by, publish

logger = logging.getLogger(__name__)

BATCH = 500
BATCH_BYTES = 128 * 1024
"""About how much content a batch may have, for brokers that limit it; one message always goes."""
AGAIN_SECONDS = 3.0
QUICKLY = 3
"""How often it is sent before the pauses grow: that often, a consumer that hangs may have got it."""
LONGEST_AGAIN_SECONDS = 30.0
MOST_DOUBLED = 8
"""How often a pause is doubled: a day of attempts must not make a number that is none."""
EMPTY_SECONDS = 10.0
"""How often a target is told at most that there was nothing for it."""
FIRST = 0
"""The partition whose holder sends."""
SWEEP_SECONDS = 1.0
RECONNECT_SECONDS = 1.0


@dataclass
class Flight:
    """What this process has sent to a target since it last heard of it.

    `begin` is what the target has confirmed, and where the batch under way begins. Nothing for the
    target stands between there and `searched`.
    """

    begin: int = -1
    searched: int = -1
    times: int = 0
    sent_at: float = float("-inf")

    def age(self) -> float:
        return time.monotonic() - self.sent_at

    def waits(self) -> bool:
        """Whether an answer may still come."""
        doubled = min(max(self.times - QUICKLY, 0), MOST_DOUBLED)
        pause = min(AGAIN_SECONDS * 2.0**doubled, LONGEST_AGAIN_SECONDS)
        return self.times > 0 and self.age() < pause


_flights: dict[tuple[str, str], Flight] = {}
"""By source and target. Tasks come and go; what their process has sent stays known."""


class Sender:
    """Sends what services in other databases want of one service's log."""

    def __init__(self, drain: Drain) -> None:
        self.source = source = drain.service
        self._leases = drain.leases
        self.log = source.tables.log._meta.db_table
        self.names = {
            target.label: names
            for target in services()
            if target.database != source.database
            and (names := subscribed_names(target.label, source.label))
        }
        self._horizon = 0
        self._settled = 0

    def step(self, conn: Connection) -> int:
        """Send each target what it is to get now; return how many messages that was."""
        if not self.names or FIRST not in self._leases.held:
            return 0
        self._horizon = horizons(conn, [self.log], {self.log: self._horizon})[self.log]
        if self._horizon == self._settled:
            return 0
        confirmed = self._confirmed(conn)
        if min(confirmed.values()) >= self._horizon:
            self._settled = self._horizon
        try:
            return sum([self._send(conn, to, position) for to, position in confirmed.items()])
        except BrokerAway:
            return 0  # Nothing is lost: it stands in the log, and a later step sends it.

    def _confirmed(self, conn: Connection) -> dict[str, int]:
        cursors = self.source.tables.relay._meta.db_table
        rows = conn.execute(f'SELECT source, position FROM "{cursors}"').fetchall()
        positions: dict[str, int] = dict(rows)
        return {to: positions.get(confirmed_by(to), 0) for to in self.names}

    def _send(self, conn: Connection, target: str, confirmed: int) -> int:
        if confirmed >= self._horizon:
            return 0
        flight = _flights.setdefault((self.source.label, target), Flight())
        if confirmed != flight.begin:
            flight.begin, flight.searched, flight.times = confirmed, confirmed, 0
        elif flight.waits():
            return 0
        batch = self._next(conn, target, flight)
        if not batch.messages:
            flight.searched = self._horizon
            if flight.age() < EMPTY_SECONDS:
                return 0
        publish(RECEIVE, target, msgspec.json.encode(batch).decode())
        flight.times, flight.sent_at = flight.times + 1, time.monotonic()
        return len(batch.messages)

    def _next(self, conn: Connection, target: str, flight: Flight) -> Batch:
        names = self.names[target]
        rows = unread(conn, self.source, names, flight.searched, self._horizon, BATCH)
        messages: list[Stored] = []
        size, complete = 0, len(rows) < BATCH
        for position, recorded_at, *envelope in rows:
            message = stored("", (position, *envelope, recorded_at))
            size += len(message.payload) + len(message.personal or "")
            if messages and size > BATCH_BYTES:
                complete = False
                break
            messages.append(message)
        up_to = self._horizon if complete else messages[-1].position
        return Batch(self.source.label, target, flight.begin, up_to, messages)


class SenderThread(threading.Thread):
    """Sends for the services in one database, beside their deliveries, so that a broker that does
    not answer holds up nobody."""

    def __init__(self, drains: Sequence[Drain], worker: str, stopping: threading.Event) -> None:
        super().__init__(name="sender", daemon=True)
        self.drains = drains
        self.alias = drains[0].service.database
        self.worker = worker
        self.stopping = stopping
        self.woken = threading.Event()

    def run(self) -> None:
        listener = wakeup.Listener(self.alias, self.woken)
        listener.start()
        while not self.stopping.is_set():
            try:
                with connect(self.alias, self.worker) as conn:
                    self._send(conn, [Sender(drain) for drain in self.drains])
            except psycopg.OperationalError as error:
                logger.warning("sender lost %s, trying again: %s", self.alias, error)
                self.stopping.wait(RECONNECT_SECONDS)
            except Exception:
                logger.exception("sender of %s failed, trying again", self.alias)
                self.stopping.wait(RECONNECT_SECONDS)
        listener.stop()

    def _send(self, conn: Connection, senders: Sequence[Sender]) -> None:
        while not self.stopping.is_set():
            self.woken.clear()
            if not sum([sender.step(conn) for sender in senders]):
                self.woken.wait(SWEEP_SECONDS)
