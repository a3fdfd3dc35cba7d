"""Figures as tables: what stands behind each chart, and what is exported.

A chart is drawn from its table's cells, so that both say the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from ecommerce.web.tags import money

Kind = Literal["text", "day", "month", "count", "money", "share"]
Value = str | int | float | None

FORMULA = re.compile(r"\s*[=+\-@]|[\t\r\n]")
"""What a spreadsheet would take for one, by its beginning."""


@dataclass(frozen=True)
class Column:
    """`key` is what charts and exports know it by."""

    key: str
    title: str
    kind: Kind = "count"


@dataclass(frozen=True)
class Cell:
    """A value with how people read it, and how scripts do."""

    text: str
    value: Value
    column: Column

    @property
    def is_number(self) -> bool:
        return self.column.kind in {"count", "money", "share"}


@dataclass(frozen=True)
class Table:
    """Rows of values; the first column names the row. Money is in minor units of `currency`."""

    name: str
    title: str
    currency: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Value, ...]]

    @property
    def cells(self) -> Iterable[list[Cell]]:
        """The rows as they are shown."""
        for row in self.rows:
            yield [
                Cell(shown(value, column.kind, self.currency), value, column)
                for value, column in zip(row, self.columns, strict=True)
            ]


def shown(value: Value, kind: Kind, currency: str) -> str:
    """A value as people read it; a dash for what is not known."""
    if value is None:
        return "—"
    if isinstance(value, str):
        return NAMES[kind](value) if kind in NAMES else value
    if kind == "money":
        return money(int(value), currency)
    return f"{value:.1%}" if kind == "share" else f"{value:,}"


def exported(value: Value, kind: Kind) -> str:
    """A value as a spreadsheet reads it: it must not take a text for a formula."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if FORMULA.match(value) else value
    if kind == "money":
        return str(Decimal(value).scaleb(-2))
    return f"{value:.4f}" if kind == "share" else str(value)


def share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None


def day_name(day: str) -> str:
    """A day such as 2026-03-02, as people write it."""
    found = date.fromisoformat(day)
    return f"{found:%a} {found.day} {found:%b}"


def month_name(month: str) -> str:
    """A month such as 2026-03, as people write it."""
    return f"{date.fromisoformat(f'{month}-01'):%b %Y}"


NAMES: dict[Kind, Callable[[str], str]] = {"day": day_name, "month": month_name}
