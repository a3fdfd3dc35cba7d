"""The thread that carries out a worker's effects, beside its deliveries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

from . import wakeup
from .database import Connection, connect
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
    """Claims the intents of services in one database, has them called in a pool of threads, and
    records the answers."""

    def __init__(
        self, services: Sequence[ServiceConfig], worker: str, stopping: threading.Event
    ) -> None:
        super().__init__(name="effects", daemon=True)
        self.services = services
        self.alias = services[0].database
        self.worker = worker
        self.stopping = stopping
        self.woken = threading.Event()

    def run(self) -> None:
        listener = wakeup.Listener(self.alias, self.woken)
        listener.start()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="effect") as pool:
            effects = [Effects(s, self.worker, pool, self.woken) for s in self.services]
            while not self.stopping.is_set():
                try:
                    self._perform(effects)
                except psycopg.OperationalError as error:
                    logger.warning("effects lost %s, trying again: %s", self.alias, error)
                    self.stopping.wait(RECONNECT_SECONDS)
                except Exception:
                    logger.exception("effects failed, trying again")
                    self.stopping.wait(RECONNECT_SECONDS)
        listener.stop()

    def _perform(self, effects: list[Effects]) -> None:
        with connect(self.alias, self.worker) as conn:
            while not self.stopping.is_set():
                self.woken.clear()
                self.woken.wait(self._once(effects, conn))
            for each in effects:
                each.finish(conn, FINISH_SECONDS)

    def _once(self, effects: list[Effects], conn: Connection) -> float:
        """Record what is finished, start what is due; return how long to wait for more."""
        due = next_due(conn, effects)
        ready = [each for each, seconds in due.items() if seconds <= 0 or each.finished()]
        if sum([each.step(conn) for each in ready]):
            wakeup.wake(self.alias)
            return 0.0
        return max(min(SWEEP_SECONDS, *due.values()), 0.0)


def performing(chosen: Sequence[ServiceConfig]) -> list[ServiceConfig]:
    """Those services that have effect handlers."""
    return [s for s in chosen if any(h.kind == "performs" for h in handlers(s.label))]
