"""Waking workers without paying for it in every commit.

A NOTIFY inside a commit takes a lock of the whole cluster, so nobody sends one there. After a
commit `wake` leaves a note with this process's notifier thread, which sends one NOTIFY for all
notes of the last few milliseconds. Losing one costs a delay only: workers look by themselves, too.
"""

from __future__ import annotations

import logging
import threading
import time

import psycopg
from django.conf import settings

from .database import Connection, connect

logger = logging.getLogger(__name__)

CHANNEL = "messaging"
COALESCE_SECONDS = 0.005
RETRY_SECONDS = 1.0
CELERY_SECONDS = 0.2


class Notifier(threading.Thread):
    """Sends NOTIFY to one database, at most once per COALESCE_SECONDS."""

    def __init__(self, alias: str) -> None:
        super().__init__(name=f"notifier-{alias}", daemon=True)
        self.alias = alias
        self.noted = threading.Event()
        self.closing = False
        self.celery_woken = float("-inf")

    def run(self) -> None:
        conn: Connection | None = None
        while True:
            self.noted.wait()
            if self.closing:
                break
            self.noted.clear()
            try:
                conn = conn or connect(self.alias)
                conn.execute(f"NOTIFY {CHANNEL}")
                self._wake_celery()
            except psycopg.Error as error:
                logger.warning("cannot notify %s: %s", self.alias, error)
                conn = None
                time.sleep(RETRY_SECONDS)
            time.sleep(COALESCE_SECONDS)
        if conn is not None:
            conn.close()

    def _wake_celery(self) -> None:
        """Ask a Celery worker to look, too, where one is configured; beat asks every second."""
        now = time.monotonic()
        if not settings.MESSAGING_WAKE_CELERY or now - self.celery_woken < CELERY_SECONDS:
            return
        self.celery_woken = now
        from kombu.exceptions import OperationalError

        from .tasks import drain

        try:
            drain.delay()
        except OperationalError as error:
            logger.warning("cannot reach the Celery broker: %s", error)


class Listener(threading.Thread):
    """Sets an event whenever a database is notified, and when the connection had to be renewed."""

    def __init__(self, alias: str, event: threading.Event) -> None:
        super().__init__(name=f"listener-{alias}", daemon=True)
        self.alias = alias
        self.event = event
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with connect(self.alias) as conn:
                    conn.execute(f"LISTEN {CHANNEL}")
                    self.event.set()
                    while not self.stopping.is_set():
                        for _ in conn.notifies(timeout=1.0, stop_after=1):
                            self.event.set()
            except psycopg.Error as error:
                logger.warning("cannot listen to %s: %s", self.alias, error)
                self.stopping.wait(RETRY_SECONDS)


_notifiers: dict[str, Notifier] = {}
_lock = threading.Lock()


def wake(alias: str) -> None:
    """Let sleeping workers know that there may be work in a database. Never fails, never waits."""
    if not settings.MESSAGING_NOTIFY:
        return
    with _lock:
        notifier = _notifiers.get(alias)
        if notifier is None or not notifier.is_alive():
            notifier = _notifiers[alias] = Notifier(alias)
            notifier.start()
    notifier.noted.set()


def close() -> None:
    """End this process's notifier threads and their connections."""
    with _lock:
        for notifier in _notifiers.values():
            notifier.closing = True
            notifier.noted.set()
        for notifier in _notifiers.values():
            notifier.join()
        _notifiers.clear()
