"""The measured runs: of the platform, of its raw twin, at a steady rate, and of an idle worker."""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.db import connections

from ecommerce.embedded import places
from ecommerce.messaging import wakeup
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import close_pools

from . import raw_twin, workload
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


class _Meter:
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
    _clone(server, PLACED)
    run = _carry_out(server, workers, expected, observe)
    workload.check()
    return run


def record(server: Server, workers: int, expected: workload.Mix, target: Path) -> dict[str, int]:
    """Make the recording for the twin, by a run that does not count; return its row counts."""
    _clone(server, PLACED)
    with psycopg.connect(server.url, autocommit=True) as conn:
        before = raw_twin.last_positions(conn)
        raw_twin.remember_effects(conn)
    _carry_out(server, workers, expected)
    workload.check()
    with psycopg.connect(server.url) as conn:
        target.write_bytes(pickle.dumps(raw_twin.record(conn, before)))
    return raw_twin.row_counts(server)


def twin(server: Server, recording: Path, processes: int, expected: workload.Mix) -> Run:
    """Have the raw twin write the recorded rows. Raises Incomplete as `platform` does."""
    _clone(server, PLACED)
    with raw_twin.twins(recording, processes) as running:
        meter = _Meter(server, [process.pid for process in running])
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
    _clone(server, SHOP)
    expected = workload.mix(int(rate * (seconds + WARM_SECONDS)))
    with working(server, workers) as processes:
        meter = _Meter(server, processes)
        due, seen = _at_a_steady_rate(server, expected, rate)
        _, own, servers = meter.used()
        _wait_until_done(expected)
    workload.check()
    count = len(expected.orders)
    times = [seen[order.order_id] - due[order.order_id] for order in expected.orders]
    return sorted(times[int(rate * WARM_SECONDS) :]), own / count * 1000, servers / count * 1000


@dataclass(frozen=True)
class Idle:
    """What one worker costs that has nothing to do. `calls` are statements a second, by text."""

    statements: float
    transactions: float
    worker_percent: float
    server_percent: float
    calls: list[tuple[str, float]]


def idle(server: Server, seconds: float) -> Idle:
    """Watch one idle worker. The server must be an OBSERVED one."""
    _clone(server, SHOP)
    transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
    with working(server, 1) as processes, server.elsewhere() as conn:
        time.sleep(WARM_SECONDS)
        conn.execute("SELECT pg_stat_statements_reset()")
        before = conn.execute(transactions, [places.DATABASE]).fetchone()
        meter = _Meter(server, processes)
        time.sleep(seconds)
        wall, own, servers = meter.used()
        after = conn.execute(transactions, [places.DATABASE]).fetchone()
        calls = [(text, count / wall) for text, count, *_ in statements(conn)]
    assert before is not None
    assert after is not None
    committed = int(str(after[0])) - int(str(before[0]))
    percent = 100 / wall
    total = sum(count for _, count in calls)
    calls.sort(key=lambda call: -call[1])
    return Idle(total, committed / wall, own * percent, servers * percent, calls)


def statements(conn: psycopg.Connection[tuple[object, ...]]) -> list[tuple[str, int, float, int]]:
    """The statements in the runs' database: text, calls, milliseconds and rows, the dearest first.

    What functions execute within them is not told apart.
    """
    rows = conn.execute(
        """SELECT regexp_replace(query, '\\s+', ' ', 'g'), sum(calls)::bigint,
                  sum(total_exec_time + total_plan_time)::float8, sum(rows)::bigint
           FROM pg_stat_statements
           WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)
           GROUP BY 1 ORDER BY 3 DESC""",
        [places.DATABASE],
    ).fetchall()
    return [(str(text), int(str(n)), float(str(ms)), int(str(k))) for text, n, ms, k in rows]


def profile(server: Server, workers: int, expected: workload.Mix, folder: Path) -> Run:
    """A run whose first worker is watched by py-spy, on an OBSERVED server.

    Leaves `python.txt` (stacks with their sample counts) and `sql.txt` in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stacks = folder / "python.txt"

    @contextmanager
    def watched(processes: list[int]) -> Iterator[None]:
        command = ["py-spy", "record", "--rate", "250", "--format", "raw", "--gil"]
        command += ["--output", str(stacks), "--pid", str(processes[0])]
        with server.elsewhere() as conn:
            conn.execute("SELECT pg_stat_statements_reset()")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as spy:
            yield
            spy.send_signal(2)

    run = platform(server, workers, expected, watched)
    with server.elsewhere() as conn:
        lines = [
            f"{ms / run.orders:8.4f} ms/order {calls / run.orders:7.3f} calls/order "
            f"{rows / run.orders:7.2f} rows/order  {text[:300]}"
            for text, calls, ms, rows in statements(conn)
        ]
    (folder / "sql.txt").write_text("\n".join(lines) + "\n")
    return run


def hottest(stacks: Path) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The functions of a profile with their share of all samples: alone, and with all they call."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.read_text(errors="replace").splitlines():
        frames, _, count = line.rpartition(" ")
        if not count.isdecimal():
            continue
        names = [frame.rpartition(":")[0] + ")" for frame in frames.split(";")]
        alone[names[-1]] += int(count)
        within.update(dict.fromkeys(names, int(count)))
    total = alone.total() or 1
    return [
        [(name, count / total) for name, count in counter.most_common(40)]
        for counter in (alone, within)
    ]  # type: ignore[return-value]


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
        meter = _Meter(server, processes)
        release(gate)
        used = _wait_until_done(expected, meter)
    _leave()
    server.settled()
    return Run(len(expected.orders), *used, meter.load, rows_written(server))


def _wait_until_done(
    expected: workload.Mix, meter: _Meter | None = None
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


def _clone(server: Server, name: str) -> None:
    _leave()
    server.clone(name)


def _keep(server: Server, name: str) -> None:
    _leave()
    server.keep(name)


def _leave() -> None:
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
