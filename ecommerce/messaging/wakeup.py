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
from django.utils.module_loading import import_string

from .database import Connection, connect

logger = logging.getLogger(__name__)

CHANNEL = "messaging"
COALESCE_SECONDS = 0.005
RETRY_SECONDS = 1.0
LISTEN_SECONDS = 0.5
"""How long a listener may take to notice that it shall stop."""
ELSEWHERE_SECONDS = 0.2


class Notifier(threading.Thread):
    """Sends NOTIFY to one database, at most once per COALESCE_SECONDS."""

    def __init__(self, alias: str) -> None:
        super().__init__(name=f"notifier-{alias}", daemon=True)
        self.alias = alias
        self.noted = threading.Event()
        self.closing = False
        self.elsewhere_woken = float("-inf")

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
                self._wake_elsewhere()
            except psycopg.Error as error:
                logger.warning("cannot notify %s: %s", self.alias, error)
                conn = None
                time.sleep(RETRY_SECONDS)
            time.sleep(COALESCE_SECONDS)
        if conn is not None:
            conn.close()

    def _wake_elsewhere(self) -> None:
        """Tell those who do not listen to the database, such as a broker's consumers."""
        now = time.monotonic()
        if not settings.MESSAGING_WAKE or now - self.elsewhere_woken < ELSEWHERE_SECONDS:
            return
        self.elsewhere_woken = now
        try:
            import_string(settings.MESSAGING_WAKE)()
        except Exception as error:
            logger.warning("cannot wake by %s: %s", settings.MESSAGING_WAKE, error)


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
                        for _ in conn.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                            self.event.set()
            except psycopg.Error as error:
                logger.warning("cannot listen to %s: %s", self.alias, error)
                self.stopping.wait(RETRY_SECONDS)

    def stop(self) -> None:
        """End the thread and its connection."""
        self.stopping.set()
        self.join()


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
