"""The measured runs: of the platform, of its raw twin, and at a steady rate."""

from __future__ import annotations

import os
import pickle
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.db import connections

from ecommerce.messaging import wakeup
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import close_pools

from . import raw_twin, recording, workload
from .server import Server, cpu_seconds, rows_written
from .workers import held_back, release, working

SHOP, PLACED = "bench_shop", "bench_placed"
LONGEST = 300.0
LOOK_SECONDS = 0.05
WATCH_SECONDS = 0.005
WARM_SECONDS = 3.0
PLACERS = 4

Written = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Run:
    """One run over all orders: wall time, CPU seconds, and rows inserted, updated, deleted."""

    orders: int
    seconds: float
    python_cpu: float
    server_cpu: float
    load: float
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
        self.load = os.getloadavg()[0]
        self.start = self._now()

    def used(self) -> tuple[float, float, float]:
        """Seconds, CPU seconds of the processes, CPU seconds of the server."""
        wall, own, server = (b - a for a, b in zip(self.start, self._now(), strict=True))
        return wall, own, server

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), cpu_seconds(self.processes), self.server.cpu_seconds()


def prepare(server: Server, count: int) -> tuple[workload.Mix, float]:
    """Make the databases that runs clone; return the orders, and how many a second were placed."""
    workload.open_shop()
    _vacuum(server)
    _keep(server, SHOP)
    expected = workload.mix(count)
    rate = workload.place(expected.orders)
    _vacuum(server)
    _keep(server, PLACED)
    return expected, rate


def platform(
    server: Server,
    workers: int,
    expected: workload.Mix,
    observe: Callable[[list[int]], AbstractContextManager[object]] | None = None,
) -> Run:
    """Have the workers carry out all placed orders, from their release to the last row.

    Raises Incomplete when anything is missing at the end, or the audit finds something.
    """
    clone(server, PLACED)
    run = _carry_out(server, workers, expected, observe)
    workload.check()
    return run


def record(server: Server, workers: int, expected: workload.Mix, target: Path) -> dict[str, int]:
    """Make the recording for the twin, by a run that does not count; return its row counts."""
    clone(server, PLACED)
    with psycopg.connect(server.url, autocommit=True) as conn:
        before = recording.last_positions(conn)
        recording.remember_effects(conn)
    _carry_out(server, workers, expected)
    workload.check()
    with psycopg.connect(server.url) as conn:
        target.write_bytes(pickle.dumps(recording.record(conn, before)))
    return recording.row_counts(server)


def twin(server: Server, score: Path, processes: int, expected: workload.Mix) -> Run:
    """Have the raw twin write the recorded rows. Raises Incomplete as `platform` does."""
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
    run = Run(len(expected.orders), *used, meter.load, rows_written(server))
    workload.check()
    return run


def latency(
    server: Server, workers: int, rate: int, seconds: float
) -> tuple[list[float], float, float]:
    """Place orders at a steady rate; return the sorted times until each was seen as Shipped.

    A time counts from when the order was due to be placed, and is exact to WATCH_SECONDS. With
    them come the CPU milliseconds an order of workers and server. The first WARM_SECONDS do not
    count.
    """
    clone(server, SHOP)
    expected = workload.mix(int(rate * (seconds + WARM_SECONDS)))
    with working(server, workers) as processes:
        meter = Meter(server, processes)
        due, seen = _at_a_steady_rate(server, expected, rate)
        _, own, servers = meter.used()
        _wait_until_done(expected)
    workload.check()
    count = len(expected.orders)
    times = [seen[order.order_id] - due[order.order_id] for order in expected.orders]
    return sorted(times[int(rate * WARM_SECONDS) :]), own / count * 1000, servers / count * 1000


def percentile(times: Sequence[float], percent: int) -> float:
    """Of sorted times."""
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def _carry_out(
    server: Server,
    workers: int,
    expected: workload.Mix,
    observe: Callable[[list[int]], AbstractContextManager[object]] | None = None,
) -> Run:
    with ExitStack() as stack:
        gate = stack.enter_context(held_back(server))
        processes = stack.enter_context(working(server, workers))
        if observe is not None:
            stack.enter_context(observe(processes))
        meter = Meter(server, processes)
        release(gate)
        used = _wait_until_done(expected, meter)
    leave()
    server.settled()
    return Run(len(expected.orders), *used, meter.load, rows_written(server))


def _wait_until_done(
    expected: workload.Mix, meter: Meter | None = None
) -> tuple[float, float, float]:
    """Wait for the last row; return what had been used before looking. Raises Incomplete."""
    until = time.monotonic() + LONGEST
    due = len(expected.orders) * workload.MESSAGES
    left = ["not all were told"]
    while time.monotonic() < until:
        used = meter.used() if meter else (0.0, 0.0, 0.0)
        if workload.told() == due:
            left = workload.missing(expected)
            if not left:
                return used
        time.sleep(LOOK_SECONDS)
    raise workload.Incomplete("\n".join(workload.missing(expected)) or str(left))


def _at_a_steady_rate(
    server: Server, expected: workload.Mix, rate: int
) -> tuple[dict[str, float], dict[str, float]]:
    """When each order was due to be placed, and when it was seen as Shipped."""
    due: dict[str, float] = {}
    seen: dict[str, float] = {}
    start = time.perf_counter() + 0.1

    def place() -> None:
        with ThreadPoolExecutor(PLACERS) as pool:
            for number, order in enumerate(expected.orders):
                due[order.order_id] = start + number / rate
                time.sleep(max(due[order.order_id] - time.perf_counter(), 0))
                pool.submit(
                    execute, order, tenant=workload.TENANT, actor=order.customer_id
                ).add_done_callback(lambda done: done.result())

    placing = threading.Thread(target=place)
    placing.start()
    until = time.monotonic() + LONGEST
    sql = """SELECT order_id FROM customers_ordersummary
             WHERE tenant = %b AND order_id = ANY(%b::text[]) AND status = 'Shipped'"""
    with psycopg.connect(server.url, autocommit=True, prepare_threshold=0) as conn:
        while len(seen) < len(expected.orders):
            if time.monotonic() > until:
                raise workload.Incomplete("\n".join(workload.missing(expected)))
            waiting = [order for order in list(due) if order not in seen]
            found = conn.execute(sql, [workload.TENANT, waiting]).fetchall()
            at = time.perf_counter()
            seen.update((order, at) for (order,) in found)
            time.sleep(WATCH_SECONDS)
    placing.join()
    return due, seen


def clone(server: Server, name: str) -> None:
    leave()
    server.clone(name)


def _keep(server: Server, name: str) -> None:
    leave()
    server.keep(name)


def leave() -> None:
    """Close this process's connections, so that the database can be replaced."""
    wakeup.close()
    close_pools()
    connections.close_all()


def _vacuum(server: Server) -> None:
    """As autovacuum would have, sooner or later: only tables that hold something."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        names = conn.execute(
            """SELECT format('%I', relname) FROM pg_stat_user_tables
               WHERE pg_relation_size(relid) > 0"""
        ).fetchall()
        conn.execute("VACUUM (FREEZE, ANALYZE) " + ", ".join(str(name) for (name,) in names))
