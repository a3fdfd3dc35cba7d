"""Where a busy worker spends its time: for people, not for the document.

Needs a server that counts statements. py-spy counts what holds the interpreter lock; threads that
wait do not count.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from ecommerce.embedded import places

from . import runs, workload
from .options import Options
from .server import OBSERVED, Server

SHOWN = 20


@contextmanager
def observed(server: Server) -> Iterator[None]:
    """Have the server count statements meanwhile."""
    runs.leave()
    server.restart(OBSERVED)
    try:
        with server.elsewhere() as conn:
            conn.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        yield
    finally:
        runs.leave()
        server.restart(dict.fromkeys(OBSERVED))


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


def profile(server: Server, options: Options, folder: Path) -> None:
    """Watch one of two workers carry out orders; print what is hottest.

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

    runs.open_shop(server)
    expected = workload.mix(options.sized(1000, 30))
    runs.place(server, expected)
    with observed(server):
        run = runs.platform(server, 2, expected, watched)
        with server.elsewhere() as conn:
            lines = [
                f"{ms / run.orders:8.4f} ms/order {calls / run.orders:7.3f} calls/order "
                f"{rows / run.orders:7.2f} rows/order  {text[:300]}"
                for text, calls, ms, rows in statements(conn)
            ]
    (folder / "sql.txt").write_text("\n".join(lines) + "\n")
    print(f"\nprofiled: {run.python_ms:.2f} + {run.server_ms:.2f} ms/order of CPU")
    alone, within = _hottest(stacks)
    for title, hot in (("functions, alone", alone), ("with all they call", within)):
        print(f"\n{title}")
        for name, share in hot:
            print(f"  {share:6.1%}  {name}")
    print("\nstatements", *[line[:200] for line in lines[:SHOWN]], sep="\n")


def _hottest(stacks: Path) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
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
    shares = [
        [(name, count / total) for name, count in counter.most_common(2 * SHOWN)]
        for counter in (alone, within)
    ]
    return shares[0], shares[1]
