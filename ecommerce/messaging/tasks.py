"""The same work, carried by Celery.

A task is a wake-up and holds no message: it works until nothing is left, and losing one costs the
second until `celery beat` sends the next. Tasks and `runworker` may run side by side.
"""

from __future__ import annotations

from celery import shared_task

from .worker import Worker

LONGEST_SECONDS = 30.0


@shared_task(name="messaging.drain", ignore_result=True, expires=LONGEST_SECONDS)
def drain() -> int:
    """Deliver, perform and send what is waiting; return how many messages were read."""
    return Worker().drain(LONGEST_SECONDS)
