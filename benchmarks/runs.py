"""The measured runs over a backlog of placed orders: of the platform, and of its raw twin."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.db import connections

from ecommerce.messaging import wakeup
from ecommerce.messaging.database import close_pools

from . import raw_twin, recording, workload
from .options import Failed
from .server import Server, cpu_seconds, rows_written
from .workers import held_back, release, working

SHOP, PLACED = "bench_shop", "bench_placed"
LONGEST = 600.0
LOOK_SECONDS = 0.05
RESERVED = "SELECT count(*) FROM inventory_reservation"

Written = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Run:
    """One run over all orders: wall time, CPU seconds, and rows inserted, updated, deleted."""

    orders: int
    seconds: float
    python_cpu: float
    server_cpu: float
    written: Written

    @property
    def rate(self) -> float:
        return self.orders / self.seconds

    @property
    def python_ms(self) -> float:
        """CPU milliseconds an order."""
        return self.python_cpu / self.orders * 1000

    @property
    def server_ms(self) -> float:
        return self.server_cpu / self.orders * 1000

    @property
    def cpu_ms(self) -> float:
        return self.python_ms + self.server_ms

    @property
    def rows(self) -> float:
        """Row writes an order."""
        return sum(map(sum, self.written.values())) / self.orders


class Meter:
    """What has been used since it was made."""

    def __init__(self, server: Server, processes: Sequence[int]) -> None:
        self.server, self.processes = server, processes
        self.start = self._now()

    def used(self) -> tuple[float, float, float]:
        """Seconds, CPU seconds of the processes, CPU seconds of the server."""
        wall, own, server = (b - a for a, b in zip(self.start, self._now(), strict=True))
        return wall, own, server

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), cpu_seconds(self.processes), self.server.cpu_seconds()


def open_shop(server: Server) -> None:
    """Make the database that all parts clone: a shop without orders."""
    workload.open_shop()
    keep(server, SHOP)


def place(server: Server, expected: workload.Mix, name: str = PLACED) -> float:
    """Make a database in which these orders are placed; return how many a second."""
    clone(server, SHOP)
    rate = workload.place(expected.orders)
    keep(server, name)
    return rate


def platform(
    server: Server,
    workers: int,
    expected: workload.Mix,
    observe: Callable[[list[int]], AbstractContextManager[object]] | None = None,
    name: str = PLACED,
) -> Run:
    """Have the workers carry out all placed orders, from their release to the last row.

    Raises Failed when anything is missing at the end, or the audit finds something.
    """
    clone(server, name)
    run = carry_out(server, workers, expected, observe)
    workload.check()
    return run


def record(server: Server, workers: int, expected: workload.Mix, target: Path) -> dict[str, int]:
    """Make the recording for the twin, by a run that does not count; return its row counts."""
    clone(server, PLACED)
    with psycopg.connect(server.url, autocommit=True) as conn:
        before = recording.last_positions(conn)
        recording.remember_effects(conn)
    carry_out(server, workers, expected)
    workload.check()
    with psycopg.connect(server.url) as conn:
        target.write_bytes(pickle.dumps(recording.record(conn, before)))
    return recording.row_counts(server)


def twin(server: Server, score: Path, processes: int, expected: workload.Mix) -> Run:
    """Have the raw twin write the recorded rows. Raises Failed as `platform` does."""
    clone(server, PLACED)
    with raw_twin.twins(score, processes) as running:
        meter = Meter(server, [process.pid for process in running])
        for process in running:
            raw_twin.tell(process, "go")
        for process in running:
            raw_twin.hear(process, "done")
        used = meter.used()
        for process in running:
            raw_twin.tell(process, "end")
    server.settled()
    run = Run(len(expected.orders), *used, rows_written(server))
    workload.check()
    return run


def carry_out(
    server: Server,
    workers: int,
    expected: workload.Mix,
    observe: Callable[[list[int]], AbstractContextManager[object]] | None = None,
) -> Run:
    """The run itself, on the database that is in place."""
    with ExitStack() as stack:
        gate = stack.enter_context(held_back(server.url))
        processes = stack.enter_context(working(server.url, workers))
        if observe is not None:
            stack.enter_context(observe(processes))
        meter = Meter(server, processes)
        release(gate, RESERVED)
        used = wait_until_done(expected, meter)
    leave()
    server.settled()
    return Run(len(expected.orders), *used, rows_written(server))


def wait_until_done(
    expected: workload.Mix, meter: Meter | None = None
) -> tuple[float, float, float]:
    """Wait for the last row; return what had been used before looking. Raises Failed.

    Looking costs the database something, so the next look comes after a quarter of what is
    left, but at most a quarter later than this one.
    """
    began = time.monotonic()
    due = len(expected.orders) * workload.MESSAGES
    while (elapsed := time.monotonic() - began) < LONGEST:
        used = meter.used() if meter else (0.0, 0.0, 0.0)
        told = workload.told()
        if told == due and next(workload.missing(expected), None) is None:
            return used
        left = elapsed * (due - told) / max(told, 1)
        time.sleep(max(LOOK_SECONDS, min(left / 4, elapsed / 4)))
    raise Failed("\n".join(workload.missing(expected)) or "not all were told in time")


def wait_until_quiet(left_over: Sequence[str] = ()) -> None:
    """Wait until nothing is left to do but this. Raises Failed."""
    until = time.monotonic() + LONGEST
    while (left := list(workload.undone())) != list(left_over):
        if time.monotonic() > until:
            raise Failed("\n".join(left) or "nothing is left")
        time.sleep(LOOK_SECONDS)


def clone(server: Server, name: str) -> None:
    """Put a fresh copy of a kept database in place."""
    leave()
    server.clone(name)


def keep(server: Server, name: str) -> None:
    """Keep the database as it is, tidied up, to be cloned."""
    vacuum(server)
    leave()
    server.keep(name)


def leave() -> None:
    """Close this process's connections, so that the database can be replaced."""
    wakeup.close()
    close_pools()
    connections.close_all()


def vacuum(server: Server) -> None:
    """As autovacuum would have, sooner or later: only tables that hold something."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        names = conn.execute(
            """SELECT format('%I', relname) FROM pg_stat_user_tables
               WHERE pg_relation_size(relid) > 0"""
        ).fetchall()
        conn.execute("VACUUM (FREEZE, ANALYZE) " + ", ".join(str(name) for (name,) in names))
