"""Waking whoever may have something to do, without paying for it in every commit.

Threads of this process are woken at once. For the others, a NOTIFY inside a commit would take a
lock of the whole cluster; so after the commit `wake` leaves a note with this process's notifier
thread, which sends one NOTIFY for all notes of the last few milliseconds. Losing one costs a delay
only: workers look by themselves, too.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Literal

import psycopg
from django.conf import settings
from django.utils.module_loading import import_string

from .database import Connection, connect

Kind = Literal["deliver", "perform", "show"]
"""What there is to do: messages to deliver, effects to perform, changed rows to show."""

CHANNEL = "messaging"
KINDS: tuple[Kind, ...] = ("deliver", "perform", "show")
COALESCE_SECONDS = 0.005
SHOW_SECONDS = 0.025
"""How often others are told of changed rows at most; nobody's work waits for it."""
RETRY_SECONDS = 1.0
LISTEN_SECONDS = 0.5
"""How long a listener may take to notice that it shall stop."""
ELSEWHERE_SECONDS = 0.2

logger = logging.getLogger(__name__)


class Notifier(threading.Thread):
    """Sends NOTIFY to one database, at most once per COALESCE_SECONDS."""

    def __init__(self, alias: str) -> None:
        super().__init__(name=f"notifier-{alias}", daemon=True)
        self.alias = alias
        self.noted = threading.Event()
        self.kinds: set[Kind] = set()
        self.closing = False
        self.backend = 0
        self.elsewhere_woken = float("-inf")

    def run(self) -> None:
        conn: Connection | None = None
        while True:
            self.noted.wait()
            if self.closing:
                break
            self.noted.clear()
            kinds = {self.kinds.pop() for _ in range(len(self.kinds))}
            try:
                conn = conn or connect(self.alias)
                self.backend = conn.info.backend_pid
                conn.execute(f"NOTIFY {CHANNEL}, '{' '.join(sorted(kinds))}'")
                if kinds != {"show"}:
                    self._wake_elsewhere()
            except psycopg.Error as error:
                logger.warning("cannot notify %s: %s", self.alias, error)
                conn = None
                time.sleep(RETRY_SECONDS)
            time.sleep(SHOW_SECONDS if kinds == {"show"} else COALESCE_SECONDS)
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
    """Sets an event whenever there is something to do in a database, and when the connection had
    to be renewed."""

    def __init__(
        self, alias: str, event: threading.Event, kinds: tuple[Kind, ...] = ("deliver", "perform")
    ) -> None:
        super().__init__(name=f"listener-{alias}", daemon=True)
        self.alias = alias
        self.event = event
        self.kinds = frozenset(kinds)
        self.stopping = threading.Event()

    def run(self) -> None:
        with _lock:
            _listeners.add(self)
        while not self.stopping.is_set():
            try:
                with connect(self.alias) as conn:
                    conn.execute(f"LISTEN {CHANNEL}")
                    self.event.set()
                    while not self.stopping.is_set():
                        for note in conn.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                            if self._concerns(note):
                                self.event.set()
            except psycopg.Error as error:
                logger.warning("cannot listen to %s: %s", self.alias, error)
                self.stopping.wait(RETRY_SECONDS)

    def _concerns(self, note: psycopg.Notify) -> bool:
        own = _notifiers.get(self.alias)
        if own is not None and note.pid == own.backend:
            return False  # `wake` has set the event already
        return not self.kinds.isdisjoint(note.payload.split() or KINDS)

    def stop(self) -> None:
        """End the thread and its connection."""
        with _lock:
            _listeners.discard(self)
        self.stopping.set()
        self.join()


_notifiers: dict[str, Notifier] = {}
_listeners: set[Listener] = set()
_lock = threading.Lock()


def wake(alias: str, *kinds: Kind, elsewhere: bool = True) -> None:
    """Let those who sleep know what there is to do in a database: of these kinds, or any.

    Not `elsewhere`: only threads of this process. Never fails, never waits.
    """
    if not settings.MESSAGING_NOTIFY:
        return
    kinds = kinds or KINDS
    with _lock:
        for listener in _listeners:
            if listener.alias == alias and not listener.kinds.isdisjoint(kinds):
                listener.event.set()
        if not elsewhere:
            return
        notifier = _notifiers.get(alias)
        if notifier is None or not notifier.is_alive():
            notifier = _notifiers[alias] = Notifier(alias)
            notifier.start()
        notifier.kinds.update(kinds)
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
