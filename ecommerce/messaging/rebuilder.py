"""What people ask of workers besides messages, one thing at a time: rebuilds, and the errands of
applications that the kernel does not know. A thread of `runworker` looks for it, or a Celery task."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Sequence

from django.db import connections

from .database import connection
from .projections import Held, groups, read_models
from .rebuilds import RUNNING, WAITING, Busy, Cancelled, Postponed, abandon, forget_dead, named, run
from .services import ServiceConfig

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0

Errand = Callable[[threading.Event], None]
"""Looks whether there is something to do, and does it until the event says that the worker stops."""

_errands: list[Errand] = []


def errand(look: Errand) -> None:
    """Have every worker look every few seconds."""
    if look not in _errands:
        _errands.append(look)


class Rebuilder(threading.Thread):
    """Looks from time to time whether somebody has asked for something, and does it."""

    def __init__(self, services: Sequence[ServiceConfig], stopping: threading.Event) -> None:
        super().__init__(name="rebuilds", daemon=True)
        self.services = [service for service in services if read_models(service.label)]
        self.stopping = stopping

    def run(self) -> None:
        while not self.stopping.wait(LOOK_SECONDS):
            self.look_everywhere()

    def look_everywhere(self) -> None:
        """Do all that is asked for now; what fails is logged and holds up nothing else."""
        for alias in sorted({service.database for service in self.services}):
            try:
                self.look(alias)
            except Exception:
                logger.exception("a look for rebuilds in %s failed", alias)
        for look in _errands:
            try:
                look(self.stopping)
            except Exception:
                logger.exception("an errand failed")
            finally:
                connections.close_all()

    def look(self, alias: str) -> None:
        """Run what is requested in one database, and see to what the dead have left."""
        here = {service.label: service for service in self.services if service.database == alias}
        asked = " UNION ALL ".join(
            f"""SELECT '{label}', id, models_named, state, actor
                FROM "{service.tables.rebuild._meta.db_table}" WHERE state = ANY(%b::text[])"""
            for label, service in here.items()
        )
        with connection(alias) as conn:
            found = conn.execute(f"{asked} ORDER BY id", [WAITING + RUNNING] * len(here)).fetchall()
            for label in {label for label, _, _, state, _ in found if state in RUNNING}:
                forget_dead(conn, here[label])
        for label, rebuild_id, name, state, actor in found:
            if state in WAITING and not self.stopping.is_set():
                self._run(here[label], rebuild_id, name, state, actor)

    def _run(
        self, service: ServiceConfig, rebuild_id: uuid.UUID, name: str, state: str, actor: str
    ) -> None:
        group = next((g for g in groups(read_models(service.label)) if named(g) == name), None)
        if group is None:
            abandon(service, rebuild_id, f"{name} are not read models that belong together")
            return
        compare = state == WAITING[1]
        try:
            run(group, actor, compare=compare, requested=rebuild_id, watch=self._watch)
        except (Busy, Cancelled, Postponed) as error:
            logger.info("%s", error)
        except Held as error:
            logger.warning("cannot rebuild %s: %s", name, error)

    def _watch(self, events: int, total: int) -> None:
        if self.stopping.is_set():
            raise Postponed(f"stopped after {events} of {total} events; another worker begins anew")
