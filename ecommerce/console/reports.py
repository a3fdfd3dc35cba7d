"""What the operators' commands print."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ecommerce.messaging.invariants import Finding


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """A table of all checks, with a few offenders under each that failed."""
    table = Table("Where", "What must hold", "", box=None, pad_edge=False)
    wrong = asked = 0
    for finding in findings:
        asked += 1
        if finding.ok:
            table.add_row(Text(finding.area, "dim"), finding.name, Text("ok", "green"))
            continue
        wrong += 1
        table.add_row(
            Text(finding.area, "bold"),
            Text(finding.name, "bold"),
            Text(f"{finding.offending} offending", "bold red"),
        )
        for row in finding.shown:
            table.add_row("", Text(f"  {_line(row)}", "red"), "")
        if finding.offending > len(finding.shown):
            table.add_row("", f"  and {finding.offending - len(finding.shown)} more", "")
    console.print(table)
    console.print(f"{asked} checks, {wrong} failed.")


def _line(row: str) -> str:
    """A row on one line; of a traceback the last is what says most."""
    lines = [line for line in row.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1].strip()}" if lines else ""
