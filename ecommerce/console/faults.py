"""All faults that are under way, wherever they are: nobody keeps a list, so none is forgotten.

What stands still is asked of the system, what rests of the leases, what providers do wrong of their
books. Each ends by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b

from django.utils import timezone

from ecommerce.messaging.fleet import Member, Partitions, fleet
from ecommerce.simulation import Planned, providers

from . import deliveries, processes
from .processes import Process


@dataclass(frozen=True)
class Fault:
    """Something that is wrong on purpose. `ending` names the action and fields that end it."""

    title: str
    text: str
    icon: str
    ending: dict[str, str]
    until: datetime | None = None
    """When it ends; None when only whoever ends it knows."""


@dataclass(frozen=True)
class Weather:
    """Everything that can be disturbed, and what is."""

    members: list[Member]
    processes: list[Process]
    faults: list[Fault] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """The same as long as there is nothing else to be shown."""
        shown = repr([self.processes, [(fault.title, fault.text) for fault in self.faults]])
        return blake2b(shown.encode(), digest_size=8).hexdigest()


def weather() -> Weather:
    """What can be disturbed now, and what is."""
    members, partitions = fleet()
    here = processes.here(members)
    faults = [*_frozen(here), *_paused(partitions, timezone.now()), *_troubled()]
    return Weather(members, here, faults)


def _frozen(here: Sequence[Process]) -> list[Fault]:
    return [
        Fault(
            f"Worker {process.pid} stands still",
            "Others take its partitions over when its leases have run out. It goes on by itself.",
            "snowflake",
            {"action": "thaw", "worker": process.worker},
        )
        for process in here
        if process.frozen
    ]


def _paused(partitions: Sequence[Partitions], now: datetime) -> list[Fault]:
    return [
        Fault(
            f"Deliveries to {service} rest",
            "What is sent to it waits in the logs.",
            "pause",
            {"action": "resume", "service": service},
            now + timedelta(seconds=left),
        )
        for service, left in deliveries.paused(partitions).items()
    ]


def _troubled() -> list[Fault]:
    return [
        Fault(
            provider.title,
            _told(planned, provider.kinds.get(planned.kind, planned.kind)),
            "zap",
            {"action": "calm", "provider": provider.name, "kind": planned.kind},
            planned.until,
        )
        for provider in providers()
        for planned in provider.troubles()
    ]


def _told(planned: Planned, does: str) -> str:
    text = does[0].upper() + does[1:]
    if planned.calls is not None:
        text += f", for {planned.calls} more call{'s' if planned.calls != 1 else ''}"
    return text + (f": {planned.seconds:g} s a call." if planned.seconds else ".")
