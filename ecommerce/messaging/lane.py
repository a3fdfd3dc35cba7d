"""The work of those services that share one database.

A worker has a lane for each database, so that one which is down holds up nobody else's services.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg

from . import deadlines, due, redrive, schedules, timers, upkeep, wakeup
from .database import Connection, connect
from .drain import Drain, look_for
from .errors import Fenced
from .leases import HEARTBEAT_SECONDS, hold_all
from .log import Appended, grown, horizons_after, horizons_of
from .relay import Relay
from .services import ServiceConfig, services
from .subscriptions import readable, subscribed_names
from .tails import Tails
from .transports import publishes

logger = logging.getLogger(__name__)

DUE_SECONDS = 2.0
"""How often it looks for timers, deadlines and parked deliveries that are due."""
UPKEEP_SECONDS = 3600.0
ANALYZE_SECONDS = 1.0
RECONNECT_SECONDS = 1.0


@dataclass
class Every:
    """Something to be done at most once in so many seconds."""

    seconds: float
    last: float = field(default=float("-inf"))

    def age(self) -> float:
        """Seconds since it was last due."""
        return time.monotonic() - self.last

    def due(self) -> bool:
        if self.age() < self.seconds:
            return False
        self.last = time.monotonic()
        return True


class Lane:
    """Deliveries, relays and sweeps of some services in one database.

    `abroad` holds connections to other databases, which the lanes of a worker share: they take
    turns in one thread, and only read there.
    """

    def __init__(
        self,
        alias: str,
        chosen: Sequence[ServiceConfig],
        worker: str,
        abroad: dict[str, Connection],
    ) -> None:
        self.alias = alias
        self.worker = worker
        self.services = chosen
        self.drains = [Drain(service, readable(service), worker) for service in chosen]
        self._abroad = [
            (target, source, names)
            for target in chosen
            for source in services()
            if source.database != alias
            and not publishes()
            and (names := subscribed_names(target.label, source.label))
        ]
        self._logs = sorted({log for drain in self.drains for log in drain.sources.values()})
        self._horizons = dict.fromkeys(self._logs, 0)
        self._tails = Tails(
            (source, log, drain.names[source])
            for drain in self.drains
            for source, log in drain.sources.items()
        )
        self._sweeps = [sweep for drain in self.drains for sweep in _sweeps(drain)]
        self._holding = Every(HEARTBEAT_SECONDS)
        self._sweeping = Every(DUE_SECONDS)
        self._upkeep = Every(UPKEEP_SECONDS)
        self._analyzing = Every(ANALYZE_SECONDS)
        self._delivered = False
        self.performing = threading.Event()
        """Set when there are effects to perform."""
        self.gather = 0.0
        """Seconds for which read models, at least, wait for more to come, which is cheaper shown
        together; none waits if this is 0."""
        self._gathering: dict[str, float] = {}
        """Until when services wait for more."""
        self._resting_until = float("-inf")
        self._conns: dict[str, Connection] = {}
        self._conns_abroad = abroad

    @property
    def conn(self) -> Connection:
        """This lane's connection to its database, renewed when it was lost."""
        return _connected(self._conns, self.alias, self.worker)

    def step(self) -> int:
        """Go once over everything that may be waiting; return how much there was."""
        if not all(drain.leases.certain for drain in self.drains):
            self._holding.last = float("-inf")
        if self._holding.due():
            hold_all(self.conn, [drain.leases for drain in self.drains])
            self._forget_batches()  # they may be about partitions that are not held any more
            self._recall_horizons()
        if self._sweeping.due():
            self._forget_batches()  # which streams are held back may change
            due.sweep(self.conn, self._sweeps)
        if self._upkeep.due():
            upkeep.begin_and_forget(self.conn, self.services)
        if self._delivered and self._analyzing.due():
            self._delivered = False
            upkeep.count_anew(self.conn, self.services)
        done = sum(self._copy(*abroad) for abroad in self._abroad)
        self._horizons = horizons_after(self._horizons, self._appended())
        if by_others := self._look(self._logs):
            self._horizons |= horizons_of(self.conn, by_others, self._horizons)
            self._look()
        handled = sum([self._deliver(drain) for drain in self._ready()])
        return done + handled + (not handled and self._tails.unread)

    @property
    def gathering_seconds(self) -> float:
        """How long it has nothing to do but to wait for more; for ever, if it does not."""
        return max(min(self._gathering.values(), default=math.inf) - time.monotonic(), 0.0)

    def _appended(self) -> Iterator[Appended]:
        """What this worker's deliveries and effects have appended of late."""
        for drain in self.drains:
            while drain.appended:
                yield drain.appended.popleft()

    def _recall_horizons(self) -> None:
        """What has been reached was a horizon once. A worker that begins while somebody's lock hides
        the present one must not take the whole log for new."""
        for drain in self.drains:
            for source, log in drain.sources.items():
                reached = (lease.positions.get(source, 0) for lease in drain.leases.held.values())
                self._horizons[log] = max(self._horizons.get(log, 0), *reached, 0)

    def _look(self, logs: Sequence[str] = ()) -> list[str]:
        """Ask once for all services what is new for them; return those of the logs that hold more
        than that."""
        now = time.monotonic()
        over = [each for each in self.drains if self._gathering.get(each.name, now) <= now]
        drains = [each for each in over if each.batch is None and each.leases.held]
        horizons = {drain.name: drain.horizons(self._horizons) for drain in drains}
        ends = look_for(self.conn, drains, horizons, self._shared_tails(), logs)
        for drain in over:
            if drain.batch is None:
                self._gathering.pop(drain.name, None)
        return grown(ends, logs, self._horizons) if ends else []

    def _shared_tails(self) -> Tails | None:
        """What the services read together; None while one of them has to read in its own way."""
        leases = [drain.leases for drain in self.drains]
        if any(each.lagging or each.careful for each in leases):
            self._tails.forget()
            return None
        self._tails.follow(frozenset().union(*(each.held for each in leases)), self._horizons)
        return self._tails

    def _ready(self) -> list[Drain]:
        """The services that have something to do now, in the order of INSTALLED_APPS."""
        now = time.monotonic()
        for drain in self.drains:
            if self.gather and drain.has_time:
                until = now + max(self.gather, drain.service.patience)
                if self._gathering.setdefault(drain.name, until) > now:
                    drain.batch = None  # it looks again when there is more
        return [each for each in self.drains if each.batch or each.leases.taken_over]

    def step_or_rest(self) -> int:
        """As `step`, but a failure is logged and the lane rests before it is tried again."""
        if time.monotonic() < self._resting_until:
            return 0
        try:
            return self.step()
        except Exception as error:
            if isinstance(error, psycopg.OperationalError):
                logger.warning("database %s lost, trying again: %s", self.alias, error)
            else:
                logger.exception("a pass over %s failed, trying again", self.alias)
            self.disconnect()
            self._resting_until = time.monotonic() + RECONNECT_SECONDS
            return 0

    def renew(self) -> None:
        """Renew the leases from another thread, while a step takes too long to do it."""
        if self._holding.age() < 2 * HEARTBEAT_SECONDS:
            return
        with connect(self.alias) as conn, conn.pipeline():
            for drain in self.drains:
                if drain.leases.held:
                    conn.execute(*drain.leases.renewal(positions=False))

    def sign_off(self) -> None:
        """Give the leases back, so that nobody has to wait until they expire."""
        try:
            for drain in self.drains:
                drain.leases.release(self.conn)
        except psycopg.OperationalError as error:
            logger.warning("could not give the leases in %s back: %s", self.alias, error)
        self.disconnect()

    def disconnect(self) -> None:
        """Close all connections; the next step opens others."""
        for conns in (self._conns, self._conns_abroad):
            for conn in conns.values():
                conn.close()
            conns.clear()
        self._gathering.clear()
        self._forget_batches()

    def _deliver(self, drain: Drain) -> int:
        try:
            handled = drain.deliver(self.conn)
        except Fenced as error:
            logger.warning("%s", error)
            return 1
        except psycopg.OperationalError:
            raise
        except Exception:
            logger.exception("%s cannot go on, trying again", drain.name)
            return 0
        self._gathering.pop(drain.name, None)
        if handled:
            self._delivered = True
            self._tell(drain)
        return handled

    def _tell(self, drain: Drain) -> None:
        """Wake whoever has to go on: other workers only for partitions that are not held here."""
        if drain.effects.is_set() or drain.claimed:
            self.performing.set()
        kinds: list[wakeup.Kind] = ["show"]
        if not all(drain.sent <= each.leases.held.keys() for each in self.drains):
            kinds.append("deliver")
        wakeup.wake(self.alias, *kinds)
        drain.sent.clear()

    def _forget_batches(self) -> None:
        for drain in self.drains:
            drain.batch = None

    def _copy(self, target: ServiceConfig, source: ServiceConfig, names: Sequence[str]) -> int:
        """Copy into an inbox what another database holds for its service, if that one answers."""
        try:
            abroad = _connected(self._conns_abroad, source.database, self.worker)
            return Relay(source, target, abroad, self.conn, names).copy()
        except psycopg.OperationalError as error:
            if self.conn.closed:
                raise
            logger.warning("cannot copy from %s to %s: %s", source.label, target.label, error)
            return 0


def _connected(conns: dict[str, Connection], alias: str, worker: str) -> Connection:
    conn = conns.get(alias)
    if conn is None or conn.closed:
        conn = conns[alias] = connect(alias, worker)
    return conn


def _sweeps(drain: Drain) -> list[due.Sweep]:
    tables = drain.tables
    return [
        due.Sweep(tables.timer._meta.db_table, "due_at", partial(timers.send_due, tables=tables)),
        due.Sweep(
            tables.dead._meta.db_table, "due_at", partial(redrive.send_due, service=drain.service)
        ),
        due.Sweep(tables.parked._meta.db_table, "due_at", partial(_retry_parked, drain=drain)),
        *deadlines.sweeps(drain.name, tables),
        *schedules.sweeps(drain.name, tables),
    ]


def _retry_parked(conn: Connection, drain: Drain) -> int:
    try:
        return drain.retry_parked(conn)
    except Fenced as error:
        logger.warning("%s", error)
        return 0
