"""eventsourcing: five applications, each of which follows the events of the one before.

Its small row is the event. The runner is one process with a thread for each application; the first
step, an order's event, is written when it is enqueued, so only four steps are left to be measured.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import singledispatchmethod
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import NAMESPACE_OID, uuid5

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.system import MultiThreadedRunner, ProcessApplication, RecordingEvent, System

from .steps import DETAIL, STEPS, ids


class Step(Aggregate):
    """What one step has to say about a saga."""

    @event("Done")
    def __init__(self, saga: str, step: str, detail: str) -> None:
        self.saga, self.step, self.detail = saga, step, detail

    @staticmethod
    def create_id(saga: str, step: str) -> Any:
        return uuid5(NAMESPACE_OID, f"{step}/{saga}")


class Order(Application):
    """The first step."""

    name = "order"

    def place(self, saga: str) -> None:
        self.save(Step(saga=saga, step="order", detail=DETAIL))


class Follower(ProcessApplication):
    """A step that follows another."""

    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        """Take the step that follows this event."""

    @policy.register
    def _(self, domain_event: Step.Done, processing_event: Any) -> None:  # type: ignore[name-defined]
        step = Step(saga=domain_event.saga, step=self.name, detail=DETAIL)
        processing_event.collect_events(step)


FOLLOWERS: list[type[Any]] = [type(name.title(), (Follower,), {"name": name}) for name in STEPS[1:]]
ROWS = " UNION ALL ".join(
    f"SELECT originator_id::text AS saga, '{name}' AS step FROM {name}_events" for name in STEPS
)


def setup(url: str) -> None:
    _system(url).stop()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE VIEW step AS {ROWS}")


def enqueue(url: str, count: int) -> None:
    order = Order(env=_environment(url))
    for saga in ids(count):
        order.place(saga)
    order.close()


def work(url: str) -> None:
    runner = _system(url)
    for leader, follower in runner.system.edges:  # what was there before the runner prompts nobody
        runner.threads[follower].receive_recording_event(RecordingEvent(leader, [], None))
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    runner.stop()


def _system(url: str) -> MultiThreadedRunner[Any]:
    """The running system; each application makes its tables when it is new."""
    runner: MultiThreadedRunner[Any] = MultiThreadedRunner(
        System(pipes=[[Order, *FOLLOWERS]]), env=_environment(url)
    )
    runner.start()
    return runner


def _environment(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    where = parse_qs(parts.query)
    return {
        **os.environ,
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.strip("/"),
        "POSTGRES_HOST": where["host"][0],
        "POSTGRES_PORT": where["port"][0],
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": "none",
    }
