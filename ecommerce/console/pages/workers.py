"""Workers: who is alive, which partitions each holds, and what is held back."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from ecommerce.messaging.fleet import Held, Partitions, fleet
from ecommerce.messaging.inspection import parked
from ecommerce.web.access import PageRequest

from .frame import operators, show

COLOURS = 8
"""Workers that the strips tell apart; those with the fewest partitions share the last."""
MOST_PARKED = 50


@dataclass(frozen=True)
class Cell:
    """One partition in a strip."""

    x: int
    colour: int
    title: str
    marked: bool


@dataclass(frozen=True)
class Strip:
    """A service's partitions, side by side."""

    partitions: Partitions
    cells: list[Cell]


@require_safe
@operators
def workers(request: PageRequest) -> HttpResponse:
    """All workers, the partitions of each service, and this shop's parked deliveries."""
    members, partitions = fleet()
    colours = {member.name: min(place, COLOURS - 1) for place, member in enumerate(members)}
    facts = {
        "members": [(member, colours[member.name]) for member in members],
        "alive": sum(member.state == "alive" for member in members),
        "strips": [
            Strip(each, [_cell(held, colours) for held in each.held]) for each in partitions
        ],
        "parked": parked(request.auth.tenant, MOST_PARKED),
        "most": MOST_PARKED,
    }
    return show(request, "workers", facts, place="console-workers")


def _cell(held: Held, colours: dict[str, int]) -> Cell:
    x = held.number * 10 + 1
    marked = held.lags or bool(held.takeovers)
    if held.free or held.owner not in colours:
        return Cell(x, -1, f"{held.number}: free", marked)
    return Cell(x, colours[held.owner], f"{held.number}: {held.owner}", marked)
