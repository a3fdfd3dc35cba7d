"""Complete orders, beside the raw twin.

Customers place orders of one to three of twelve products; that database is kept, and each run begins
with a clone of it. A run is all that follows, by `manage.py runworker` processes that hold their
partitions and idle when the orders become visible: stock, payment, shipment, three notifications,
read models, figures. It ends when nothing is left to do. The raw twin writes the rows of a recorded
run again with as many processes, in large batches, and reads, decides and checks nothing: what the
machine allows for these rows, not a competitor. Both take turns; the audit is asked after each.
CPU is that of workers (or twin) and of all PostgreSQL processes, in milliseconds an order. `Of the
twin` by CPU is twin to platform, so that more is better.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from . import recording, runs, workload
from .options import Failed, Options
from .report import Table, spread
from .runs import Run
from .server import Server

COLUMNS = (
    "", "sagas/s", "of the twin", "by CPU", "CPU ms Python", "CPU ms PostgreSQL", "rows written",
)  # fmt: skip


def measure(server: Server, options: Options) -> list[Table]:
    """Platform and twin with 1, 2 and 4 processes."""
    expected = workload.mix(options.sized(6000, 30))
    placed = runs.place(server, expected)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        score = Path(scratch) / "score"
        counts = runs.record(server, options.workers, expected, score)
        last: tuple[Run, Run] | None = None
        for workers in options.sized((1, 2, 4), (1,)):
            pairs = []
            for _ in range(options.rounds):
                platform = runs.platform(server, workers, expected)
                pairs.append((platform, _twin(server, score, workers, expected, counts)))
            rows += _rows(workers, pairs)
            last = pairs[-1]
    assert last is not None
    note = f"{len(expected.orders):,} orders, placed by one thread at {placed:.0f} a second."
    return [Table("Complete orders", COLUMNS, rows, [note]), _written(*last)]


def _twin(
    server: Server, score: Path, processes: int, expected: workload.Mix, counts: dict[str, int]
) -> Run:
    """A run of the twin. Raises Failed if a table has not as many rows as in the recorded run."""
    run = runs.twin(server, score, processes, expected)
    found = recording.row_counts(server)
    if found != counts:
        differing = {
            name: (count, found.get(name))
            for name, count in counts.items()
            if count != found.get(name)
        }
        raise Failed(f"the twin's tables differ (recorded, written): {differing}")
    return run


def _rows(workers: int, pairs: list[tuple[Run, Run]]) -> list[tuple[str, ...]]:
    platforms, twins = zip(*pairs, strict=True)
    of_twin = spread((p.rate / t.rate for p, t in pairs), 2)
    by_cpu = spread((t.cpu_ms / p.cpu_ms for p, t in pairs), 2)
    return [
        (f"platform, {workers} workers", *_figures(platforms, of_twin, by_cpu)),
        (f"raw twin, {workers} processes", *_figures(twins, "", "")),
    ]


def _figures(made: tuple[Run, ...], of_twin: str, by_cpu: str) -> tuple[str, ...]:
    return (
        spread(run.rate for run in made),
        of_twin,
        by_cpu,
        spread((run.python_ms for run in made), 2),
        spread((run.server_ms for run in made), 2),
        f"{statistics.median(run.rows for run in made):.1f}",
    )


def _written(platform: Run, twin: Run) -> Table:
    """The rows of one round, an order."""
    rows = []
    for table in sorted(platform.written.keys() | twin.written.keys()):
        a, b = (run.written.get(table, (0, 0, 0)) for run in (platform, twin))
        cells = [
            f"{x / platform.orders:.2f} / {y / twin.orders:.2f}" if x or y else ""
            for x, y in zip(a, b, strict=True)
        ]
        rows.append((f"`{table}`", *cells))
    note = "Rows that orders share (stock, figures, leases) are written once a batch."
    columns = ("platform / twin", "inserted", "updated", "deleted")
    return Table("Rows written for an order", columns, rows, [note])
