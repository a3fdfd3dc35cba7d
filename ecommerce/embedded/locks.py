"""Locks between processes that the operating system drops when their holder dies.

A lock belongs to an open file, so a forked child shares its parent's, and it lasts until both have
gone. The files are empty and stay; their existence says nothing.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    lock = open_lock(path)
    try:
        yield lock
    finally:
        os.close(lock)


def try_shared(lock: int) -> bool:
    return _try(lock, fcntl.LOCK_SH)


def try_exclusive(lock: int) -> bool:
    return _try(lock, fcntl.LOCK_EX)


def wait_exclusive(lock: int) -> None:
    """Only for a lock that others hold for an instant."""
    fcntl.flock(lock, fcntl.LOCK_EX)


def wait_shared(lock: int, until: float) -> bool:
    """Whether the lock was got before `until` (a time.monotonic)."""
    while not try_shared(lock):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def unlock(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_UN)


def is_held_exclusively(lock: int) -> bool:
    """Whether another open file holds it. Two system calls, so it may be asked at every connect."""
    if not try_shared(lock):
        return True
    unlock(lock)
    return False


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
