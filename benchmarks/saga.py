"""How many complete orders the platform carries out, beside the raw twin that writes the same rows.

    python -m benchmarks.saga --orders 1000 --workers 2 --rounds 3

See README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from .server import OBSERVED, Server, durable_server

if TYPE_CHECKING:
    from .runs import Run

PARTS = ("throughput", "latency", "idle")


def main() -> None:
    """Measure what the command line asks for, and print it."""
    options = _options()
    with durable_server() as server, tempfile.TemporaryDirectory() as scratch:
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        os.environ["DATABASE_URL"] = server.url
        os.environ.setdefault("LOG_LEVEL", "WARNING")
        django.setup()
        results = _measure(server, options, Path(scratch))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--workers", type=numbers, default=[2], help="such as 1,2,4; default 2")
    parser.add_argument("--rounds", type=int, default=3, help="of platform and twin in turn")
    parser.add_argument("--rates", type=numbers, default=[20], help="orders a second, for latency")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each latency and idle run")
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS)
    )
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="also profile a worker")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def _measure(server: Server, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from . import runs

    results: dict[str, Any] = {"orders": options.orders, "load": os.getloadavg()}
    expected, rate = runs.prepare(server, options.orders)
    results["placed"] = rate
    print(f"{options.orders} orders placed, {rate:.0f} a second; load {os.getloadavg()[0]:.1f}")
    if "throughput" in options.parts:
        recording = scratch / "recording"
        counts = runs.record(server, max(options.workers), expected, recording)
        for workers in options.workers:
            pairs = [
                (runs.platform(server, workers, expected), _twin(server, recording, workers, expected, counts))
                for _ in range(options.rounds)
            ]
            results[f"throughput, {workers} workers"] = _report(workers, pairs)
    if "latency" in options.parts:
        for rate in options.rates:
            times, own, servers = runs.latency(server, options.workers[0], rate, options.seconds)
            p50, p99 = (runs.percentile(times, percent) * 1000 for percent in (50, 99))
            results[f"latency, {rate}/s"] = {"p50": p50, "p99": p99, "python": own, "server": servers}
            print(
                f"\nat {rate} orders/s, {options.workers[0]} workers: shipped and visible after "
                f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; CPU {own:.2f} + {servers:.2f} ms/order; "
                f"load {os.getloadavg()[0]:.1f}"
            )
    if "idle" in options.parts or options.profile:
        server.restart(OBSERVED)
        with server.elsewhere() as conn:
            conn.execute("CREATE EXTENSION pg_stat_statements")
    if "idle" in options.parts:
        found = runs.idle(server, options.seconds)
        results["idle"] = asdict(found)
        print(
            f"\none idle worker: {found.statements:.1f} statements/s in {found.transactions:.1f} "
            f"transactions/s; CPU {found.worker_percent:.1f} % worker, "
            f"{found.server_percent:.1f} % PostgreSQL"
        )
        for text, calls in found.calls[:12]:
            print(f"  {calls:6.2f}/s  {text[:100]}")
    if options.profile:
        run = runs.profile(server, options.workers[0], expected, options.profile)
        print(f"\nprofiled: {run.python_ms:.2f} + {run.server_ms:.2f} ms/order of CPU")
        for title, hot in zip(("alone", "with all they call"), runs.hottest(options.profile / "python.txt"), strict=True):
            print(f"\nfunctions, {title}")
            for name, share in hot:
                print(f"  {share:6.1%}  {name}")
        print("\nstatements")
        print("\n".join((options.profile / "sql.txt").read_text().splitlines()[:25]))
    return results


def _twin(
    server: Server, recording: Path, processes: int, expected: Any, counts: dict[str, int]
) -> Run:
    from . import raw_twin, runs, workload

    run = runs.twin(server, recording, processes, expected)
    found = raw_twin.row_counts(server)
    if found != counts:
        differing = {name: (counts.get(name), found.get(name)) for name in counts if counts[name] != found.get(name)}
        raise workload.Incomplete(f"the twin's tables differ (recorded, written): {differing}")
    return run


def _report(workers: int, pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any]:
    columns = {"platform": [p for p, _ in pairs], "twin": [t for _, t in pairs]}
    print(f"\n{workers} workers, {len(pairs)} rounds, {pairs[0][0].orders} orders")
    print(f"{'':10}{'sagas/s':>10}{'(range)':>16}{'Python ms':>12}{'Postgres ms':>13}{'CPU ms':>9}{'rows':>8}{'load':>7}")
    for name, made in columns.items():
        rates = [run.rate for run in made]
        spread = f"({min(rates):.0f} to {max(rates):.0f})"
        print(
            f"{name:10}{_median(made, lambda r: r.rate):10.0f}{spread:>16}"
            f"{_median(made, lambda r: r.python_ms):12.2f}{_median(made, lambda r: r.server_ms):13.2f}"
            f"{_median(made, _cpu):9.2f}{_median(made, lambda r: r.rows):8.1f}"
            f"{_median(made, lambda r: r.load):7.1f}"
        )
    ratio = statistics.median(p.rate / t.rate for p, t in pairs)
    cpu = statistics.median(_cpu(t) / _cpu(p) for p, t in pairs)
    print(f"ratio to the twin: {ratio:.2f} in sagas/s, {cpu:.2f} in CPU")
    _print_rows(pairs[-1])
    return {
        "ratio": ratio,
        "cpu_ratio": cpu,
        **{name: [asdict(run) | {"rate": run.rate} for run in made] for name, made in columns.items()},
    }


def _print_rows(pair: tuple[Run, Run]) -> None:
    """Rows of the last round, an order: inserted, updated, deleted."""
    print(f"{'rows an order (platform | twin)':36}{'inserted':>16}{'updated':>16}{'deleted':>16}")
    platform, twin = pair
    for table in sorted(platform.written.keys() | twin.written.keys()):
        a, b = platform.written.get(table, (0, 0, 0)), twin.written.get(table, (0, 0, 0))
        cells = [
            f"{x / platform.orders:7.2f} |{y / twin.orders:6.2f}" if x or y else ""
            for x, y in zip(a, b, strict=True)
        ]
        print(f"  {table:34}" + "".join(f"{cell:>16}" for cell in cells))


def _cpu(run: Run) -> float:
    return run.python_ms + run.server_ms


def _median(made: Sequence[Run], of: Callable[[Run], float]) -> float:
    return statistics.median(map(of, made))


if __name__ == "__main__":
    main()
