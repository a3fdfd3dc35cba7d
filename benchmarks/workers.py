"""Worker processes, from the moment that they hold their partitions.

They are ready before there is anything to do: `held_back` keeps the placed orders out of sight.
A log is read up to its horizon, which does not pass the place of a writer that has not committed;
so one open transaction that holds the lock of orders' log, as such a writer does, hides it all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings

from .options import Failed

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 60.0

Connection = psycopg.Connection[tuple[object, ...]]


@contextmanager
def held_back(url: str, log: str = "orders_log") -> Iterator[Connection]:
    """Hide a log from workers that start now, until this connection commits."""
    with psycopg.connect(url, options="-c idle_in_transaction_session_timeout=0") as gate:
        gate.execute("SELECT pg_advisory_xact_lock_shared(messaging_log_key(%s))", [log])
        yield gate


def release(gate: Connection, untouched: str) -> None:
    """Show the workers what was held back, and wake them.

    Raises Failed if one has seen it already: the statement counts what they would have written.
    """
    (seen,) = gate.execute(untouched).fetchone() or (0,)
    if seen:
        raise Failed("workers saw what should have been held back")
    gate.commit()
    gate.autocommit = True
    gate.execute("NOTIFY messaging")


@contextmanager
def working(
    url: str,
    count: int,
    services: Sequence[str] = tuple(settings.SERVICES),
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[int]]:
    """The process ids of so many workers, each with its share of every service's partitions."""
    processes = [
        subprocess.Popen(
            [sys.executable, "manage.py", "runworker"],
            cwd=ROOT,
            env=os.environ | {"LOG_LEVEL": "WARNING"} | dict(environment or {}),
        )
        for _ in range(count)
    ]
    try:
        _wait_for_shares(url, processes, services)
        yield [process.pid for process in processes]
        for process in processes:
            if process.poll() is not None:
                raise Failed(f"a worker ended with exit code {process.returncode}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(STOP_SECONDS)


def _wait_for_shares(
    url: str, processes: Sequence[subprocess.Popen[bytes]], services: Sequence[str]
) -> None:
    """Wait until the partitions are shared out, and stay so for a moment."""
    share = settings.MESSAGING_PARTITIONS // len(processes)
    until = time.monotonic() + START_SECONDS
    even = 0
    with psycopg.connect(url, autocommit=True) as conn:
        while even < 5:
            if time.monotonic() > until or any(p.poll() is not None for p in processes):
                raise Failed("the workers did not come to hold their partitions")
            time.sleep(0.1)
            fewest = [_fewest(conn, service) for service in services]
            shared = all(found == (len(processes), share) for found in fewest)
            even = even + 1 if shared else 0


def _fewest(conn: Connection, service: str) -> tuple[object, ...] | None:
    """How many workers hold partitions of a service, and how many the one with the fewest holds."""
    return conn.execute(
        f"""SELECT count(*), min(held) FROM (
                SELECT count(*) AS held FROM {service}_partition
                WHERE owner IS NOT NULL GROUP BY owner) AS shares"""
    ).fetchone()
