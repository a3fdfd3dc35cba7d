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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from .server import OBSERVED, Server, durable_server

if TYPE_CHECKING:
    from .runs import Run
    from .workload import Mix

PARTS = ("throughput", "latency", "idle")
SHOWN = 20
"""Statements that are shown of all."""


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
    parser.add_argument("--alone", action="store_true", help="without the twin")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="also profile a worker")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def _measure(server: Server, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from . import runs

    expected, rate = runs.prepare(server, options.orders)
    print(f"{options.orders} orders placed, {rate:.0f} a second; load {os.getloadavg()[0]:.1f}")
    results: dict[str, Any] = {"orders": options.orders, "placed": rate}
    if "throughput" in options.parts:
        results["throughput"] = _throughput(server, options, expected, scratch / "score")
    if "latency" in options.parts:
        results["latency"] = [_latency(server, options, rate) for rate in options.rates]
    if "idle" in options.parts or options.profile:
        server.restart(OBSERVED)
        with server.elsewhere() as conn:
            conn.execute("CREATE EXTENSION pg_stat_statements")
    if "idle" in options.parts:
        results["idle"] = _idle(server, options.seconds)
    if options.profile:
        _profile(server, options, expected)
    return results


def _throughput(
    server: Server, options: argparse.Namespace, expected: Mix, score: Path
) -> list[dict[str, Any]]:
    from . import runs

    counts = runs.record(server, max(options.workers), expected, score)
    results = []
    for workers in options.workers:
        made: dict[str, list[Run]] = {"platform": [], "twin": []}
        for _ in range(options.rounds):
            made["platform"].append(runs.platform(server, workers, expected))
            if not options.alone:
                made["twin"].append(_twin(server, score, workers, expected, counts))
        results.append(_report(workers, made))
    return results


def _latency(server: Server, options: argparse.Namespace, rate: int) -> dict[str, float]:
    from . import runs

    workers = options.workers[0]
    times, own, servers = runs.latency(server, workers, rate, options.seconds)
    p50, p99 = (runs.percentile(times, percent) * 1000 for percent in (50, 99))
    load = os.getloadavg()[0]
    print(
        f"\nat {rate} orders/s, {workers} workers: shipped and visible after p50 {p50:.0f} ms, "
        f"p99 {p99:.0f} ms; CPU {own:.2f} + {servers:.2f} ms/order; load {load:.1f}"
    )
    return {"rate": rate, "p50": p50, "p99": p99, "python_ms": own, "server_ms": servers}


def _idle(server: Server, seconds: float) -> dict[str, Any]:
    from . import observed

    found = observed.idle(server, seconds)
    print(
        f"\none idle worker: {found.statements:.1f} statements/s in {found.transactions:.1f} "
        f"transactions/s; CPU {found.worker_percent:.1f} % worker, "
        f"{found.server_percent:.1f} % PostgreSQL"
    )
    for text, calls in found.calls[:SHOWN]:
        print(f"  {calls:6.2f}/s  {text[:100]}")
    return asdict(found)


def _profile(server: Server, options: argparse.Namespace, expected: Mix) -> None:
    from . import observed

    run = observed.profile(server, options.workers[0], expected, options.profile)
    print(f"\nprofiled: {run.python_ms:.2f} + {run.server_ms:.2f} ms/order of CPU")
    titles = ("functions, alone", "functions, with all they call")
    for title, hot in zip(titles, observed.hottest(options.profile / "python.txt"), strict=True):
        print(f"\n{title}")
        for name, share in hot:
            print(f"  {share:6.1%}  {name}")
    print("\nstatements")
    for line in (options.profile / "sql.txt").read_text().splitlines()[:SHOWN]:
        print(line[:200])


def _twin(
    server: Server, score: Path, processes: int, expected: Mix, counts: dict[str, int]
) -> Run:
    from . import recording, runs, workload

    run = runs.twin(server, score, processes, expected)
    found = recording.row_counts(server)
    if found != counts:
        differing = {
            name: (counts.get(name), found.get(name))
            for name in counts
            if counts[name] != found.get(name)
        }
        raise workload.Incomplete(f"the twin's tables differ (recorded, written): {differing}")
    return run


def _report(workers: int, made: dict[str, list[Run]]) -> dict[str, Any]:
    platform, twin = made["platform"], made["twin"]
    print(
        f"\n{workers} workers, {len(platform)} rounds, {platform[0].orders} orders; CPU is ms/order"
    )
    print("            sagas/s        (range)   Python  Postgres     CPU    rows    load")
    for name, runs in made.items():
        if runs:
            rates = [run.rate for run in runs]
            spread = f"({min(rates):.0f} to {max(rates):.0f})"
            print(
                f"{name:10}{_median(runs, 'rate'):9.0f}{spread:>15}{_median(runs, 'python_ms'):9.2f}"
                f"{_median(runs, 'server_ms'):10.2f}{_median(runs, 'cpu_ms'):8.2f}"
                f"{_median(runs, 'rows'):8.1f}{_median(runs, 'load'):8.1f}"
            )
    results: dict[str, Any] = {
        name: [asdict(run) | {"rate": run.rate} for run in runs] for name, runs in made.items()
    }
    if twin:
        pairs = list(zip(platform, twin, strict=True))
        results["ratio"] = statistics.median(p.rate / t.rate for p, t in pairs)
        results["cpu_ratio"] = statistics.median(t.cpu_ms / p.cpu_ms for p, t in pairs)
        print(f"of the twin: {results['ratio']:.2f} by time, {results['cpu_ratio']:.2f} by CPU")
        _print_rows(*pairs[-1])
    return results


def _print_rows(platform: Run, twin: Run) -> None:
    """Rows of one round, an order."""
    print("rows an order: platform | twin              inserted         updated         deleted")
    for table in sorted(platform.written.keys() | twin.written.keys()):
        a, b = (run.written.get(table, (0, 0, 0)) for run in (platform, twin))
        cells = [
            f"{x / platform.orders:.2f} |{y / twin.orders:6.2f}" if x or y else ""
            for x, y in zip(a, b, strict=True)
        ]
        print(f"  {table:32}" + "".join(f"{cell:>16}" for cell in cells))


def _median(runs: Sequence[Run], figure: str) -> float:
    return float(statistics.median(getattr(run, figure) for run in runs))


if __name__ == "__main__":
    main()
