"""A worker: the loop that carries out all deliveries, effects, timers and relays.

`manage.py runworker` runs it until it is told to stop; Celery tasks run it until nothing is left
to do. Any number may run at once: leases, fencing tokens and row locks keep them apart.
"""

from __future__ import annotations

import gc
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connections

from . import wakeup
from .database import Connection, connect
from .delivery import by
from .effects import THREADS, Effects
from .errors import DatabaseAway, WiringError
from .lane import Lane
from .leases import HEARTBEAT_SECONDS, TASK
from .names import check_names
from .partitions import check_partitions
from .performer import FINISH_SECONDS, Performer, has_effects
from .rebuilder import Rebuilder
from .sender import Sender, SenderThread
from .services import ServiceConfig, by_database, services
from .transports import publishes
from .visibility import check_sees_every_tenant

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
"""How often a worker looks for work by itself, should no notification reach it."""
GATHER_SECONDS = 0.01
"""How long what only read models want waits for more: little for a reader, fewer commits."""


def worker_name() -> str:
    """A name that no other process start has: host, process id and a random part."""
    return by(secrets.token_hex(4))


class Worker:
    """Carries out the work of some services, or of all, until `stop` is called.

    One that is given topics performs effects of these only; it delivers messages all the same.
    Without names it works for `settings.WORKER_SERVICES`, without topics it takes
    `settings.WORKER_TOPICS`; when these are empty, too, all.
    Raises WiringError when the code does not fit the database: see `names` and `partitions`. Raises
    DatabaseAway when it cannot be reached; a worker that has begun lives through that.
    """

    def __init__(
        self, names: Sequence[str] | None = None, topics: Sequence[str] | None = None
    ) -> None:
        self.name = worker_name()
        self.topics = frozenset(topics or settings.WORKER_TOPICS) or None
        chosen = names or settings.WORKER_SERVICES
        self.services = [s for s in services() if not chosen or s.label in chosen]
        check_reachable(self.services)
        check_fits(self.services)
        self.stopping = threading.Event()
        self.woken = threading.Event()
        self.delivered = threading.Event()
        """Set when the last batch has been delivered."""
        abroad: dict[str, Connection] = {}
        self.lanes = [
            Lane(alias, own, self.name, abroad)
            for alias, own in sorted(by_database(self.services).items())
        ]

    def stop(self) -> None:
        """Finish the batch under way, give the leases back and return from `run`."""
        self.stopping.set()
        self.woken.set()

    def run(self) -> None:
        """Work until `stop`; a lost database is tried again for as long as it takes."""
        listeners = [wakeup.Listener(lane.alias, self.woken, ("deliver",)) for lane in self.lanes]
        companions: list[threading.Thread] = [
            *listeners,
            *self._performers(),
            *self._senders(),
            Rebuilder(self.services, self.stopping),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
        ]
        for thread in companions:
            thread.start()
        for lane in self.lanes:
            lane.gather = GATHER_SECONDS
        _spare_the_collector()
        logger.info("worker %s works for %s", self.name, [s.label for s in self.services])
        while not self.stopping.is_set():
            self.woken.clear()
            if not sum([lane.step_or_rest() for lane in self.lanes]):
                gathering = [lane.gathering_seconds for lane in self.lanes]
                self.woken.wait(min(SWEEP_SECONDS, *gathering))
        self.delivered.set()
        for lane in self.lanes:
            lane.performing.set()
            lane.sign_off()
        for listener in listeners:
            listener.stop()
        for thread in companions:
            thread.join(FINISH_SECONDS + 5)
        logger.info("worker %s stopped", self.name)

    def drain(self, seconds: float) -> int:
        """Work until nothing is left or the time is over; return how much was done."""
        deadline = time.monotonic() + seconds
        total = 0
        for each in (drain for lane in self.lanes for drain in lane.drains):
            each.leases.kind = TASK
        with ThreadPoolExecutor(THREADS, thread_name_prefix="effect") as pool:
            effects = [
                (lane, Effects(service, self.name, pool, self.woken, self.topics))
                for lane in self.lanes
                for service in lane.services
                if has_effects(service)
            ]
            senders = [
                (lane, Sender(drain)) for lane in self.lanes for drain in lane.drains if publishes()
            ]
            try:
                while time.monotonic() < deadline and not self.stopping.is_set():
                    self.woken.clear()
                    done = sum([lane.step() for lane in self.lanes])
                    done += sum([calls.step(lane.conn) for lane, calls in effects])
                    done += sum([sender.step(lane.conn) for lane, sender in senders])
                    total += done
                    if not done and any(calls.in_flight for _, calls in effects):
                        self.woken.wait(0.1)
                    elif not done:
                        break
                for lane, calls in effects:
                    calls.finish(lane.conn, FINISH_SECONDS)
            finally:
                for lane in self.lanes:
                    lane.sign_off()
        return total

    def _performers(self) -> list[Performer]:
        return [
            Performer(lane, self.delivered, self.topics)
            for lane in self.lanes
            if any(has_effects(service) for service in lane.services)
        ]

    def _senders(self) -> list[SenderThread]:
        """What sends messages where a broker carries them; elsewhere lanes copy."""
        if not publishes():
            return []
        return [SenderThread(lane.drains, self.name, self.stopping) for lane in self.lanes]

    def _beat(self) -> None:
        """Renew the leases while a batch takes so long that the loop does not come to it."""
        while not self.stopping.wait(HEARTBEAT_SECONDS):
            for lane in self.lanes:
                try:
                    lane.renew()
                except psycopg.Error as error:
                    logger.warning("heartbeat in %s failed: %s", lane.alias, error)


def check_reachable(chosen: Sequence[ServiceConfig]) -> None:
    """Raise DatabaseAway for a database of these services that lets nobody in. Pools would say less,
    and later."""
    for alias in by_database(chosen):
        try:
            connect(alias).close()
        except (psycopg.OperationalError, OperationalError) as error:
            name = connections[alias].settings_dict["NAME"]
            why = " ".join(str(error).split())
            raise DatabaseAway(f"the database {alias} ({name}) cannot be reached: {why}") from error


def check_fits(chosen: Sequence[ServiceConfig]) -> None:
    """Raise WiringError when the code does not fit the databases of these services."""
    try:
        check_partitions(chosen)
        check_sees_every_tenant(chosen)
        for service in chosen:
            check_names(service)
    except ProgrammingError as error:
        what = str(error).partition("\n")[0]
        raise WiringError(f"{what}: run `manage.py migrate` first") from error


def _spare_the_collector() -> None:
    """Batches make many objects that live until their commit: look for cycles less often, and not
    among what start-up has made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
