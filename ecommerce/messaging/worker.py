"""A worker: the loop that carries out all deliveries, effects, timers and relays.

`manage.py runworker` runs it until it is told to stop; Celery tasks run it until nothing is left
to do. Any number may run at once: leases, fencing tokens and row locks keep them apart.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import psycopg

from . import deadlines, due, relay, timers, wakeup
from .database import Connection, connect
from .drain import Drain, subscribed_names
from .effects import Effects
from .errors import Fenced
from .leases import HEARTBEAT_SECONDS, renewal
from .log import horizons
from .names import check_names
from .partitions import check_partitions
from .performer import FINISH_SECONDS, THREADS, Performer, performing
from .services import ServiceConfig, services

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
"""How often a worker looks for work by itself, should no notification reach it."""
DUE_SECONDS = 2.0
"""How often it looks for timers, deadlines and parked deliveries that are due."""
KEEP_DAYS_SECONDS = 3600.0
DELIVERY_LOG_DAYS = 30
RECONNECT_SECONDS = 1.0


def worker_name() -> str:
    """A name that no other process start has: host, process id and a random part."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


class Worker:
    """Carries out the work of some services until `stop` is called.

    Raises WiringError when the code does not fit the database: see `names` and `partitions`.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        check_partitions()
        self.name = worker_name()
        self.services = [s for s in services() if names is None or s.label in names]
        for service in self.services:
            check_names(service)
        self.stopping = threading.Event()
        self.woken = threading.Event()
        self.drains = [Drain(s, readable(s), self.name) for s in self.services]
        self._abroad = [
            (target, source, names)
            for target in self.services
            for source in services()
            if source.database != target.database
            and (names := subscribed_names(target.label, source.label))
        ]
        self._aliases = sorted({s.database for s in self.services})
        self._sweeps = {
            alias: [
                sweep
                for drain in self.drains
                if drain.service.database == alias
                for sweep in self._sweeps_of(drain)
            ]
            for alias in self._aliases
        }
        self._connections: dict[str, Connection] = {}
        self._horizons: dict[str, int] = {}
        self._timetable = {
            self._hold: Every(HEARTBEAT_SECONDS),
            self._sweep: Every(DUE_SECONDS),
            self._keep_days: Every(KEEP_DAYS_SECONDS),
        }

    def stop(self) -> None:
        """Finish the batch under way, give the leases back and return from `run`."""
        self.stopping.set()
        self.woken.set()

    def run(self) -> None:
        """Work until `stop`; a lost database connection is renewed for as long as it takes."""
        listeners = [wakeup.Listener(alias, self.woken) for alias in self._aliases]
        companions = [
            *listeners,
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
            Performer(performing(self.services), self.name, self.stopping),
        ]
        for thread in companions:
            thread.start()
        logger.info("worker %s works for %s", self.name, [s.label for s in self.services])
        while not self.stopping.is_set():
            try:
                self.woken.clear()
                if not self.step():
                    self.woken.wait(SWEEP_SECONDS)
            except Exception as error:
                self._disconnected(error)
        for listener in listeners:
            listener.stopping.set()
        self._sign_off()
        for thread in companions:
            thread.join(FINISH_SECONDS + 5)
        logger.info("worker %s stopped", self.name)

    def drain(self, seconds: float) -> int:
        """Work until nothing is left or the time is over; return how many messages were read."""
        deadline = time.monotonic() + seconds
        total = 0
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="effect")
        effects = [Effects(s, self.name, pool, self.woken) for s in performing(self.services)]
        try:
            while time.monotonic() < deadline and not self.stopping.is_set():
                self.woken.clear()
                done = self.step() + sum(e.step(self._conn(e.service.database)) for e in effects)
                total += done
                if not done and any(e.in_flight for e in effects):
                    self.woken.wait(0.1)
                elif not done:
                    break
            for each in effects:
                each.finish(self._conn(each.service.database), FINISH_SECONDS)
        finally:
            pool.shutdown(wait=False)
            self._sign_off()
        return total

    def step(self) -> int:
        """Go once over everything that may be waiting; return how much there was."""
        for action, every in self._timetable.items():
            if every.due():
                action()
        done = self._relay()
        ahead = self._look_ahead()
        for drain in self.drains:
            if not drain.leases.held:
                continue
            conn = self._conn(drain.service.database)
            try:
                handled = drain.step(conn, drain.horizons(ahead))
            except Fenced as error:
                logger.warning("%s", error)
                handled = 1
            if handled:
                wakeup.wake(drain.service.database)
            done += handled
        return done

    def _hold(self) -> None:
        for drain in self.drains:
            drain.leases.hold(self._conn(drain.service.database))

    def _sweep(self) -> None:
        for alias in self._aliases:
            due.sweep(self._conn(alias), self._sweeps[alias])

    def _sweeps_of(self, drain: Drain) -> list[due.Sweep]:
        tables = drain.tables
        return [
            due.Sweep(
                tables.timer._meta.db_table, "due_at", partial(timers.send_due, tables=tables)
            ),
            due.Sweep(tables.parked._meta.db_table, "due_at", partial(_retry_parked, drain=drain)),
            *deadlines.sweeps(drain.name, tables),
        ]

    def _keep_days(self) -> None:
        """Make the delivery logs' coming partitions, and drop the old ones."""
        for service in self.services:
            self._conn(service.database).execute(
                "SELECT messaging_keep_days(%b::text, 2, %b::int)",
                (service.tables.delivery._meta.db_table, DELIVERY_LOG_DAYS),
            )

    def _relay(self) -> int:
        """Copy into the inboxes what other databases hold for these services."""
        copied = 0
        for target, source, names in self._abroad:
            conns = self._conn(source.database), self._conn(target.database)
            copied += relay.Relay(source, target, *conns, names).copy()
        return copied

    def _look_ahead(self) -> dict[str, int]:
        """How far each log and inbox can be read, by its table."""
        logs_by_alias: dict[str, set[str]] = {}
        for drain in self.drains:
            logs_by_alias.setdefault(drain.service.database, set()).update(drain.sources.values())
        for alias, logs in logs_by_alias.items():
            self._horizons.update(horizons(self._conn(alias), sorted(logs), self._horizons))
        return self._horizons

    def _beat(self) -> None:
        """Renew the leases while a batch takes so long that the loop does not come to it."""
        while not self.stopping.wait(HEARTBEAT_SECONDS):
            if self._timetable[self._hold].age() < 2 * HEARTBEAT_SECONDS:
                continue
            try:
                for alias in self._aliases:
                    self._renew(alias)
            except psycopg.Error as error:
                logger.warning("heartbeat failed: %s", error)

    def _renew(self, alias: str) -> None:
        with connect(alias) as conn, conn.pipeline():
            for drain in self.drains:
                held = list(drain.leases.held.values())
                if drain.service.database == alias and held:
                    conn.execute(*renewal(drain.tables, self.name, held))

    def _conn(self, alias: str) -> Connection:
        conn = self._connections.get(alias)
        if conn is None or conn.closed:
            conn = self._connections[alias] = connect(alias)
        return conn

    def _disconnected(self, error: Exception) -> None:
        if isinstance(error, psycopg.OperationalError):
            logger.warning("database lost, trying again: %s", error)
        else:
            logger.error("a pass over the work failed, trying again", exc_info=error)
        for conn in self._connections.values():
            conn.close()
        self._connections.clear()
        self.stopping.wait(RECONNECT_SECONDS)

    def _sign_off(self) -> None:
        try:
            for drain in self.drains:
                drain.leases.release(self._conn(drain.service.database))
        except psycopg.OperationalError as error:
            logger.warning("could not give the leases back: %s", error)
        for conn in self._connections.values():
            conn.close()
        self._connections.clear()


@dataclass
class Every:
    """Something to be done at most once in so many seconds."""

    seconds: float
    last: float = field(default=float("-inf"))

    def age(self) -> float:
        """Seconds since it was last due."""
        return time.monotonic() - self.last

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


def _retry_parked(conn: Connection, drain: Drain) -> int:
    try:
        return drain.retry_parked(conn)
    except Fenced as error:
        logger.warning("%s", error)
        return 0


def readable(target: ServiceConfig) -> dict[str, str]:
    """The sources that a service reads, and the table of each: logs of services in its database,
    and its inbox when there are others."""
    sources = {
        source.label: source.tables.log._meta.db_table
        for source in services()
        if source.database == target.database and subscribed_names(target.label, source.label)
    }
    if any(source.database != target.database for source in services()):
        sources["inbox"] = target.tables.inbox._meta.db_table
    return sources
