"""What a worker costs that has nothing to do, and a command until it begins.

One worker in a shop without a backlog, watched on a server with pg_stat_statements. Commands run five
times each: `help` is what all need to start, `check` loads the pages and asks every check.
"""

from __future__ import annotations

import subprocess
import sys
import time

from ecommerce.embedded import places

from . import profiling
from .options import Options
from .report import Table, spread
from .runs import SHOP, Meter, clone
from .server import Server
from .workers import ROOT, working

SHOWN = 10
SETTLING_SECONDS = 3.0
STARTS = 5
COMMANDS = ("help", "check")
TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"


def measure(server: Server, options: Options) -> list[Table]:
    """Statements, transactions and CPU a second."""
    clone(server, SHOP)
    with (
        profiling.observed(server),
        working(server.url, 1) as processes,
        server.elsewhere() as conn,
    ):
        time.sleep(options.sized(SETTLING_SECONDS, 0))
        conn.execute("SELECT pg_stat_statements_reset()")
        (before,) = conn.execute(TRANSACTIONS, [places.DATABASE]).fetchone() or (0,)
        meter = Meter(server, processes)
        time.sleep(options.sized(30.0, 2.0))
        wall, own, servers = meter.used()
        (after,) = conn.execute(TRANSACTIONS, [places.DATABASE]).fetchone() or (0,)
        calls = [(text, count / wall) for text, count, *_ in profiling.statements(conn)]
    calls.sort(key=lambda call: -call[1])
    transactions = (int(str(after)) - int(str(before))) / wall
    figures = [
        ("statements a second", f"{sum(count for _, count in calls):.1f}"),
        ("transactions a second", f"{transactions:.1f}"),
        ("CPU of the worker", f"{own / wall:.1%} of a core"),
        ("CPU of PostgreSQL", f"{servers / wall:.1%} of a core"),
    ]
    asked = [(f"`{text[:90]}`", f"{count:.2f}") for text, count in calls[:SHOWN]]
    return [
        Table("One idle worker", ("", ""), figures),
        Table("What it asks most", ("statement", "a second"), asked),
        Table(
            "How long a command takes",
            ("", "seconds"),
            [(f"`manage.py {command}`", _started(command, options)) for command in COMMANDS],
        ),
    ]


def _started(command: str, options: Options) -> str:
    """The median of some starts, with the shortest and the longest."""
    took = []
    for _ in range(options.sized(STARTS, 1)):
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "manage.py", command], cwd=ROOT, capture_output=True, check=True
        )
        took.append(time.monotonic() - began)
    return spread(took, 2)
