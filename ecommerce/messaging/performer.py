"""The thread that carries out a worker's effects, beside its deliveries."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from . import wakeup
from .claims import Since, waiting
from .database import Connection, connect
from .effects import THREADS, Effects
from .lane import Lane
from .registry import handlers
from .services import ServiceConfig

logger = logging.getLogger(__name__)

FINISH_SECONDS = 10.0
"""How long a stopping worker waits for the calls under way."""
SWEEP_SECONDS = 1.0
"""How often it looks closely for intents that are due, all partitions' included."""
LOOK_BACK_SECONDS = 20.0
"""How often it looks for those, too, that were due long before anybody could see them."""
RECONNECT_SECONDS = 1.0


class Asked(threading.Event):
    """Somebody asks for effects; that wakes as any other reason does."""

    def __init__(self, woken: threading.Event) -> None:
        super().__init__()
        self._woken = woken

    def set(self) -> None:
        super().set()
        self._woken.set()


class Performer(threading.Thread):
    """Claims the intents of services in one database, has them called in a pool of threads, and
    records the answers. It must not be stopped before the deliveries, which claim for it, too."""

    def __init__(
        self, lane: Lane, stopping: threading.Event, topics: frozenset[str] | None
    ) -> None:
        super().__init__(name="effects", daemon=True)
        self.alias = lane.alias
        self.drains = [drain for drain in lane.drains if has_effects(drain.service)]
        self.worker = lane.worker
        self.stopping = stopping
        self.topics = topics
        self.woken = lane.performing
        self.asked = Asked(self.woken)

    def run(self) -> None:
        listener = wakeup.Listener(self.alias, self.asked, ("perform",))
        listener.start()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="effect") as pool:
            effects = [
                Effects(drain.service, self.worker, pool, self.woken, self.topics, drain)
                for drain in self.drains
            ]
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
        looked = looked_back = float("-inf")
        with connect(self.alias, self.worker) as conn:
            while not self.stopping.is_set():
                self.woken.clear()
                asked = self.asked.is_set()
                self.asked.clear()
                closely = time.monotonic() - looked >= SWEEP_SECONDS
                if closely:
                    looked = time.monotonic()
                if looked - looked_back >= LOOK_BACK_SECONDS:
                    looked_back = looked
                    for each in effects:
                        each.since = Since()
                if not self._once(effects, conn, closely=closely, asked=asked or closely):
                    self.woken.wait(SWEEP_SECONDS)
            for each in effects:
                each.finish(conn, FINISH_SECONDS)

    def _once(
        self, effects: list[Effects], conn: Connection, *, closely: bool, asked: bool = True
    ) -> int:
        """Record what is finished, start what is due; return how much that was."""
        chosen = effects
        if closely:
            due = waiting(conn, [(each.service.tables, each.since) for each in effects])
            chosen = [e for e, is_due in zip(effects, due, strict=True) if is_due or e.busy]
        done = sum([each.step(conn, closely=closely, asked=asked) for each in chosen])
        if any(each.answered for each in effects):
            wakeup.wake(self.alias, "deliver", elsewhere=any(each.abroad for each in effects))
            wakeup.wake(self.alias, "show")
            for each in effects:
                each.answered = each.abroad = False
        return done


def has_effects(service: ServiceConfig) -> bool:
    """Whether a service has effect handlers."""
    return any(handler.kind == "performs" for handler in handlers(service.label))
