"""The same work, carried by Celery.

`messaging.drain` is a wake-up and holds no message: it works until nothing is left, and losing one
costs the second until `celery beat` sends the next. `messaging.errands` does what people have asked
for, such as rebuilds, and takes as long as these do. `messaging.receive` and `messaging.confirm`
carry messages between databases: see `transports`. Tasks and `runworker` may run side by side.

A task that cannot do its work ends with a line in the log. It is not tried again: whoever sent it
sends it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg
from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from psycopg_pool import PoolTimeout

from . import transports
from .consumer import set_aside
from .errors import ContractError, DatabaseAway, WiringError, describe
from .rebuilder import Rebuilder
from .services import services
from .worker import Worker

logger = logging.getLogger(__name__)

LONGEST_SECONDS = 30.0
_draining = threading.Lock()
_errands = threading.Lock()
_stopping = threading.Event()


@shared_task(name="messaging.drain", ignore_result=True, expires=LONGEST_SECONDS)
def drain() -> int:
    """Deliver, perform and send what is waiting; return how many messages were read.

    One is enough for a process: those that come meanwhile would only take its threads.
    """
    if not _draining.acquire(blocking=False):
        return 0
    try:
        return Worker().drain(LONGEST_SECONDS)
    except (DatabaseAway, psycopg.OperationalError, PoolTimeout) as error:
        logger.warning("no work now, the next wake-up tries again: %s", describe(error))
        return 0
    finally:
        _draining.release()


@shared_task(name="messaging.errands", ignore_result=True, expires=LONGEST_SECONDS, acks_late=False)
def errands() -> None:
    """Carry out rebuilds and audits that are asked for, one after the other.

    It is acknowledged before it begins: a broker would give a task that takes minutes to others, too.
    """
    if not _errands.acquire(blocking=False):
        return
    try:
        reached = settings.WORKER_SERVICES or settings.SERVICES
        Rebuilder([s for s in services() if s.label in reached], _stopping).look_everywhere()
    finally:
        _errands.release()


def _stop(**_: object) -> None:
    """Postpone what is under way. A child of a prefork pool does not hear it, and ends its task first."""
    _stopping.set()


worker_shutting_down.connect(_stop)


@shared_task(name=transports.RECEIVE, ignore_result=True)
def receive(body: str) -> None:
    """Store a batch from another database, and tell how far the inbox has come."""
    _carry_out(transports.receive, body, "cannot receive, it will be sent again: %s")


@shared_task(name=transports.CONFIRM, ignore_result=True)
def confirm(body: str) -> None:
    """Note how far another database has come; its sender is woken and sends what is next."""
    _carry_out(transports.confirm, body, "cannot note a receipt, there will be another: %s")


def _carry_out(step: Callable[[str], None], body: str, away: str) -> None:
    """Take a step, unless nobody can read the body, or the database is away."""
    try:
        step(body)
    except (ContractError, WiringError) as error:
        set_aside(body, str(error))
    except (psycopg.OperationalError, PoolTimeout) as error:
        logger.warning(away, describe(error))
