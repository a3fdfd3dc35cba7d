"""The Celery application: `celery -A ecommerce worker`, `celery -A ecommerce beat`.

Not imported by `ecommerce` itself: only processes that consume or publish tasks pay for Celery's
start. Code that publishes imports `app` from here, so that a task never goes to the default broker
of an application that was not configured.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress

from celery import Celery
from celery.signals import beat_init, worker_init
from django.conf import settings
from kombu import Exchange, Queue
from kombu.exceptions import KombuError

from ecommerce.messaging.errors import BrokerAway, DatabaseAway, WiringError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ecommerce.settings")

logger = logging.getLogger(__name__)

AWAY_SECONDS = 2.0
"""How long nothing is published after the broker has not answered."""
CONFIRM_SECONDS = 5.0
WAKE_SECONDS = 30.0
"""How long a wake-up is worth anything."""

app = Celery("ecommerce")
app.config_from_object("django.conf:settings", namespace="CELERY")


def _queue_of(service: str) -> str:
    return f"messaging.{service}"


def _queues() -> list[Queue]:
    """What a worker listens to, if it is not told with `-Q`."""
    kind = app.conf.task_create_missing_queue_type
    arguments = {"x-queue-type": kind} if kind != "classic" else None
    services = settings.WORKER_SERVICES or settings.SERVICES
    names = [settings.CELERY_TASK_DEFAULT_QUEUE, *map(_queue_of, services)]
    return [Queue(n, Exchange(n), routing_key=n, queue_arguments=arguments) for n in names]


def _errors() -> tuple[type[BaseException], ...]:
    """What the broker's library raises when the broker is not there."""
    with app.connection_for_write() as unconnected:
        return (*unconnected.connection_errors, *unconnected.channel_errors)


def _refuse_mistakes(**_: object) -> None:
    """End the process when its wiring is wrong: Celery logs the errors of signals, and goes on."""
    from ecommerce.messaging.checks import refuse_mistakes  # needs Django, which Celery sets up

    try:
        refuse_mistakes()
    except WiringError as error:
        raise SystemExit(str(error)) from error


def _refuse_other_code(**_: object) -> None:
    """End a worker whose code does not fit its databases, as `runworker` does.

    One that is away may come back: until then tasks end with a line in the log.
    """
    from django.db import connections

    from ecommerce.messaging.database import close_pools
    from ecommerce.messaging.worker import Worker

    try:
        Worker()
    except WiringError as error:
        raise SystemExit(str(error)) from error
    except DatabaseAway as error:
        logger.warning("%s", error)
    finally:  # no process that is forked off may use these
        close_pools()
        connections.close_all()


app.conf.task_queues = _queues()
app.autodiscover_tasks()
worker_init.connect(_refuse_mistakes)
worker_init.connect(_refuse_other_code)
beat_init.connect(_refuse_mistakes)

ERRORS: tuple[type[BaseException], ...] = (OSError, KombuError, *_errors())


class _Broker:
    """Whether the broker answers: asked seldom while it does not, told once when that changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away = False
        self._ask_at = float("-inf")

    def send(self, task: str, queue: str, *arguments: str, expires: float | None = None) -> None:
        """Raises BrokerAway when the broker has not taken the task, or was away a moment ago."""
        if time.monotonic() < self._ask_at:
            raise BrokerAway(f"the broker did not answer; it is asked again in {AWAY_SECONDS} s")
        try:
            app.send_task(
                task,
                arguments,
                queue=queue,
                ignore_result=True,
                expires=expires,
                compression="zlib",
                argsrepr="(not shown)",
                confirm_timeout=CONFIRM_SECONDS,
            )
        except ERRORS as error:
            self._lost(error)
            raise BrokerAway(f"the broker takes nothing: {error}") from error
        self._found()

    def _lost(self, error: BaseException) -> None:
        with self._lock:
            self._ask_at = time.monotonic() + AWAY_SECONDS
            if not self._away:
                logger.warning("the broker is away, what it would carry waits: %s", error)
            self._away = True

    def _found(self) -> None:
        with self._lock:
            if self._away:
                logger.warning("the broker is back")
            self._away = False


_broker = _Broker()


def wake() -> None:
    """Ask a Celery worker to look for work now; `celery beat` asks every second."""
    with suppress(BrokerAway):
        _broker.send("messaging.drain", settings.CELERY_TASK_DEFAULT_QUEUE, expires=WAKE_SECONDS)


def publish(task: str, service: str, body: str) -> None:
    """Hand a task to the Celery workers of a service. Raises BrokerAway."""
    _broker.send(task, _queue_of(service), body)
