"""Reading the same of all services, with one statement for each database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .database import connection
from .services import ServiceConfig, by_database, services


def ask_all(
    part: Callable[[ServiceConfig], str], values: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """The rows of all databases. `part` makes a service's SELECT, or nothing; `values` are by name."""
    rows: list[tuple[Any, ...]] = []
    for alias, own in by_database(services()).items():
        parts = [f"({select})" for config in own if (select := part(config))]
        if parts:
            with connection(alias) as conn:
                rows += conn.execute(" UNION ALL ".join(parts), values).fetchall()
    return rows
