"""The thread that carries out a worker's effects, beside its deliveries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

from . import wakeup
from .database import connect
from .effects import Effects, next_due
from .registry import handlers
from .services import ServiceConfig

logger = logging.getLogger(__name__)

THREADS = 16
FINISH_SECONDS = 10.0
"""How long a stopping worker waits for the calls under way."""
SWEEP_SECONDS = 2.0
RECONNECT_SECONDS = 1.0


class Performer(threading.Thread):
    """Claims intents, has them called in a pool of threads, and records the answers."""

    def __init__(
        self, services: Sequence[ServiceConfig], worker: str, stopping: threading.Event
    ) -> None:
        super().__init__(name="effects", daemon=True)
        self.services = services
        self.worker = worker
        self.stopping = stopping
        self.woken = threading.Event()

    def run(self) -> None:
        aliases = {service.database for service in self.services}
        listeners = [wakeup.Listener(alias, self.woken) for alias in aliases]
        for listener in listeners:
            listener.start()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="effect") as pool:
            effects = [Effects(s, self.worker, pool, self.woken) for s in self.services]
            while not self.stopping.is_set():
                try:
                    self._perform(effects)
                except psycopg.OperationalError as error:
                    logger.warning("effects lost the database, trying again: %s", error)
                    self.stopping.wait(RECONNECT_SECONDS)
                except Exception:
                    logger.exception("effects failed, trying again")
                    self.stopping.wait(RECONNECT_SECONDS)
        for listener in listeners:
            listener.stopping.set()

    def _perform(self, effects: list[Effects]) -> None:
        conns = {each.service.database: connect(each.service.database) for each in effects}
        try:
            while not self.stopping.is_set():
                self.woken.clear()
                waits = {
                    alias: next_due(conn, _in(alias, effects)) for alias, conn in conns.items()
                }
                soonest = min(seconds for due in waits.values() for seconds in due.values())
                done = 0
                for alias, due in waits.items():
                    ready = [e for e in _in(alias, effects) if due[e] <= 0 or e.finished()]
                    if sum(each.step(conns[alias]) for each in ready):
                        wakeup.wake(alias)
                        done += 1
                if not done:
                    self.woken.wait(min(max(soonest, 0.01), SWEEP_SECONDS))
            for each in effects:
                each.finish(conns[each.service.database], FINISH_SECONDS)
        finally:
            for conn in conns.values():
                conn.close()


def _in(alias: str, effects: Sequence[Effects]) -> list[Effects]:
    return [each for each in effects if each.service.database == alias]


def performing(chosen: Sequence[ServiceConfig]) -> list[ServiceConfig]:
    """Those services that have effect handlers."""
    return [s for s in chosen if any(h.kind == "performs" for h in handlers(s.label))]
