"""What a person who searches the messaging tables may mean, and where an index finds it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from .log import ENVELOPE, Stored
from .messages import contracts
from .services import services

SLACK = timedelta(seconds=60)
"""Longer than any batch takes from its clock to its commit."""
NEAR = 5000
"""Positions that are not worth narrowing down further."""


def as_uuid(term: str) -> uuid.UUID | None:
    """The id that a person wrote; None when it is none."""
    try:
        return uuid.UUID(term)
    except ValueError:
        return None


def streams(term: str) -> list[str]:
    """The streams that a person may mean."""
    return [term, *sorted({f"{contract.category}/{term}" for contract in contracts()})]


def find(message_id: uuid.UUID) -> tuple[str, Stored] | None:
    """A message by its id, with the table that has it; None when it is stored no longer, or never
    was: a command that a person executed is not, and neither is a call that was made."""
    columns = [*ENVELOPE, "recorded_at"]
    for config in services():
        tables = config.tables
        for model in (tables.log, tables.inbox, tables.effect, tables.timer, tables.dead):
            asked: dict[str, Any] = {"message_id": message_id}
            if model is tables.log:
                asked["position__gte"] = first_position(model, message_id)
            if row := model._default_manager.filter(**asked).values(*columns).first():
                return model._meta.db_table, Stored(position=0, **row)
    return None


def first_position(log: type[Any], named: uuid.UUID) -> int:
    """A position before which a log has no message with this id, cause or correlation.

    No index has them. But our ids begin with their time, and positions grow with time.
    """
    if named.version != 7:
        return 0
    made = datetime.fromtimestamp((named.int >> 80) / 1000, UTC)
    return position_before(log, made - SLACK)


def position_before(log: type[Any], instant: datetime) -> int:
    """A position shortly before an instant."""
    newest = log._default_manager.order_by("-position").values_list("position", flat=True).first()
    low, high = 0, newest or 0
    while high - low > NEAR:
        middle = (low + high) // 2
        after = log._default_manager.filter(position__gte=middle).order_by("position")
        recorded_at = after.values_list("recorded_at", flat=True).first()
        if recorded_at is None or recorded_at >= instant:
            high = middle
        else:
            low = middle
    return low
