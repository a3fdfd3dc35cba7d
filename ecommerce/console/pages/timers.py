"""What comes by the clock: the next timers and deadlines, the schedules, and the canaries' pings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from ecommerce.console.traffic import duration
from ecommerce.messaging import agenda
from ecommerce.messaging.agenda import Ping
from ecommerce.messaging.canary import NAME
from ecommerce.web.access import PageRequest

from .frame import operators, show

SHOWN = 10
TALLEST = 24
"""Height of a bar that stands for SLOWEST seconds or more; others grow with the root of theirs."""
SLOWEST = 1.0
ANSWER = timedelta(seconds=10)
"""How long an answer may be on its way before its ping counts as missed."""


@dataclass(frozen=True)
class Bar:
    """One ping in a canary's history, the oldest first."""

    x: int
    y: int
    height: int
    missed: bool
    title: str


@require_safe
@operators
def timers(request: PageRequest) -> HttpResponse:
    """This shop's timers, calls and deadlines, and the platform's schedules and canaries."""
    tenant = request.auth.tenant
    planned = agenda.planned()
    facts = {
        "timers": agenda.timers(tenant, SHOWN),
        "calls": agenda.calls(tenant, SHOWN),
        "expiries": agenda.expiries(tenant, SHOWN),
        "schedules": [each for each in planned if not each.name.endswith(f".{NAME}")],
        "canaries": [
            (service, found[:1], _bars(found[::-1])) for service, found in agenda.pings().items()
        ],
        "pings": [each for each in planned if each.name.endswith(f".{NAME}")],
        "tallest": TALLEST,
        "now": timezone.now(),
    }
    return show(request, "timers", facts, place="console-timers")


def _bars(pings: Sequence[Ping]) -> list[Bar]:
    return [_bar(place, ping) for place, ping in enumerate(pings)]


def _bar(place: int, ping: Ping) -> Bar:
    at = f"{timezone.localtime(ping.asked_at):%H:%M:%S}"
    if ping.took is None:
        missed = timezone.now() - ping.asked_at > ANSWER
        says = "no answer" if missed else "no answer yet"
        return Bar(
            place * 8,
            0 if missed else TALLEST - 2,
            TALLEST if missed else 2,
            missed,
            f"{at}: {says}",
        )
    height = max(2, min(TALLEST, round(TALLEST * sqrt(ping.took / SLOWEST))))
    return Bar(
        place * 8, TALLEST - height, height, missed=False, title=f"{at}: {duration(ping.took)}"
    )
