"""What the operators' commands print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ecommerce.messaging.invariants import Finding


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """A table of all checks, then a few offenders of each that failed."""
    table = Table("Where", "What must hold", "Found", box=None, pad_edge=False)
    for finding in findings:
        style = "green" if finding.ok else "bold red"
        found = "ok" if finding.ok else f"{finding.offending} offending"
        table.add_row(Text(finding.area, "dim"), finding.name, Text(found, style))
    console.print(table)
    failed = [finding for finding in findings if not finding.ok]
    for finding in failed:
        console.print(Text(f"\n{finding.area}: {finding.name}", "bold red"))
        for row in finding.shown:
            console.print(Text(f"  {_line(row)}"))
        if finding.offending > len(finding.shown):
            console.print(f"  and {finding.offending - len(finding.shown)} more")
    console.print(f"\n{len(findings)} checks, {len(failed)} failed.")


def _line(row: str) -> str:
    """A row on one line; of a traceback the last is what says most."""
    lines = [line for line in row.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1].strip()}" if lines else ""
