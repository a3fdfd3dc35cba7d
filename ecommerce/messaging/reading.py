"""A row by its key, for requests that many wait for."""

from __future__ import annotations

from typing import Any, TypeVar

from .database import connection
from .models import Row
from .rows import table
from .services import service

R = TypeVar("R", bound=Row)


def find(model: type[R], tenant: str, *key: Any) -> R | None:
    """A tenant's row with this key, as it is committed; None if there is no such row.

    One prepared statement: a QuerySet is composed and planned anew for each row, which takes
    several times as long.
    """
    found = table(model)
    with connection(service(model._meta.app_label).database) as conn:
        values = conn.execute(*found.select([(tenant, *key)], lock=False)).fetchone()
    row: R | None = found.instance(values) if values else None
    return row
