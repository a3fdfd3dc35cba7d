"""What dead letters died of: those that died of the same thing are one cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.db.models import Count, Max, Min, Value

from .desk import Selection
from .reasons import headline
from .services import ServiceConfig

MOST_CAUSES = 100
"""Of one service: whoever has more looks at the most frequent first."""

Group = dict[str, Any]
"""Letters that died of the same thing, in one service."""
KEY = ("cause", "handler", "reason", "dead_at")
"""By what the latest letter of a group is found."""


@dataclass(frozen=True)
class Cause:
    """Letters that died of the same thing; `error` is what the latest of them says."""

    service: str
    cause: str
    handler: str
    reason: str
    letters: int
    first: datetime
    last: datetime
    error: str


def causes(selection: Selection) -> list[Cause]:
    """What letters died of, the most frequent first."""
    found = [
        (config, group) for config in selection.services() for group in _groups(config, selection)
    ]
    errors = _errors(selection, found)
    known = [
        Cause(config.label, **group, error=headline(errors.get((config.label, *_key(group)), "")))
        for config, group in found
    ]
    return sorted(known, key=lambda cause: (-cause.letters, cause.cause))


def _groups(config: ServiceConfig, selection: Selection) -> Iterable[Group]:
    groups = selection.letters(config).values("cause", "handler", "reason")
    counted = groups.annotate(letters=Count("pk"), first=Min("dead_at"), last=Max("dead_at"))
    ordered = counted.order_by("-letters", "cause")[:MOST_CAUSES]
    return cast(Iterable[Group], ordered)


def _errors(
    selection: Selection, found: Sequence[tuple[ServiceConfig, Group]]
) -> dict[tuple[Any, ...], str]:
    """What the latest letter of each group says, with one statement for each database."""
    errors: dict[tuple[Any, ...], str] = {}
    for alias in {config.database for config, _ in found}:
        latest: dict[ServiceConfig, list[datetime]] = {}
        for config, group in found:
            if config.database == alias:
                latest.setdefault(config, []).append(group["last"])
        first, *others = [
            selection.letters(config)
            .filter(dead_at__in=moments)
            .order_by(*KEY)
            .distinct(*KEY)
            .values_list(Value(config.label), *KEY, "error")
            for config, moments in latest.items()
        ]
        for *key, error in first.union(*others, all=True):
            errors[tuple(key)] = error
    return errors


def _key(group: Group) -> tuple[Any, ...]:
    return group["cause"], group["handler"], group["reason"], group["last"]
