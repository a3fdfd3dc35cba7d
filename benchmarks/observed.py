"""What an idle worker asks for, and where a busy one spends its time.

Both need a server that counts statements: see `server.OBSERVED`.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ecommerce.embedded import places

from . import workload
from .runs import SHOP, WARM_SECONDS, Meter, Run, clone, platform
from .server import Server
from .workers import working


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
    clone(server, SHOP)
    transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
    with working(server, 1) as processes, server.elsewhere() as conn:
        time.sleep(WARM_SECONDS)
        conn.execute("SELECT pg_stat_statements_reset()")
        before = conn.execute(transactions, [places.DATABASE]).fetchone()
        meter = Meter(server, processes)
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
