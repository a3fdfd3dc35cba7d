"""`python -m benchmarks`: measure everything in one go and write docs/performance.md.

    python -m benchmarks --parts saga,web --rounds 5
    python -m benchmarks --quick

See README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

import django

from . import report
from .options import Options
from .server import Server, throw_away_server

PARTS = (
    "saga", "peers", "latency", "idle", "web", "pages", "growth", "longrun", "rebuilding", "hotspots",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"


def main() -> None:
    """Measure what the command line asks for, and print it. Exits with 1 when a part failed."""
    arguments = _arguments()
    options = Options(arguments.rounds, arguments.quick, arguments.hour)
    with throw_away_server(durable=not arguments.quick) as server:
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        os.environ["DATABASE_URL"] = server.url
        os.environ.setdefault("LOG_LEVEL", "WARNING")
        django.setup()
        if arguments.profile:
            from . import profiling

            profiling.profile(server, options, arguments.profile)
        failed = _measure(server, options, arguments.parts, arguments.output)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name and name != "none"]
        if unknown := sorted(set(found) - set(PARTS)):
            raise argparse.ArgumentTypeError(f"{unknown}; there are {', '.join(PARTS)}")
        return found

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--parts", type=names, default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="of all that takes turns; default 3")
    parser.add_argument("--quick", action="store_true", help="a smoke test; figures mean nothing")
    parser.add_argument("--hour", action="store_true", help="have the long run take an hour")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="also profile a worker")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the document; by default docs/performance.md"
    )
    arguments = parser.parse_args()
    if arguments.output is None and not arguments.quick:
        arguments.output = DOCUMENT
    if arguments.quick:
        arguments.rounds = 1
    return arguments


def _measure(server: Server, options: Options, parts: list[str], output: Path | None) -> list[str]:
    """Measure the parts one after another, writing after each. Returns those that failed."""
    from . import runs

    if parts:
        runs.open_shop(server)
    sections = dict.fromkeys(PARTS, "")
    failed = []
    for name in parts:
        module = import_module(f".{name}", __package__)
        print(f"\n{name}", flush=True)
        try:
            tables = module.measure(server, options)
        except Exception:  # noqa: BLE001  # the other parts are worth having
            traceback.print_exc()
            failed.append(name)
            continue
        report.show(tables)
        sections[name] = report.section(module, tables, quick=options.quick)
        if output is not None:
            report.write(output, sections)
    return failed


if __name__ == "__main__":
    main()
