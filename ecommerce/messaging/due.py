"""What is due by the clock: one question for all services of a database, then only what is.

An idle worker asks it every few seconds, so it must cost one statement, however many services.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .database import Connection


@dataclass(frozen=True)
class Sweep:
    """A table with a column of due times, and what to do once one of them has passed."""

    table: str
    column: str
    run: Callable[[Connection], int]


def sweep(conn: Connection, sweeps: list[Sweep]) -> int:
    """Run those sweeps that have something to do; return how much they did."""
    if not sweeps:
        return 0
    questions = ", ".join(
        f'EXISTS (SELECT FROM "{each.table}" WHERE "{each.column}" <= messaging_now())'
        for each in sweeps
    )
    due = conn.execute(f"SELECT {questions}").fetchone() or ()
    return sum(each.run(conn) for each, is_due in zip(sweeps, due, strict=True) if is_due)
