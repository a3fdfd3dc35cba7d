"""Workers of three kinds, and what kills and freezes them."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecommerce.messaging.leases import LEASE_SECONDS
from tests.crashes.conftest import MANAGE, Platform, Program
from tests.journeys.shop import until

PAUSE = (0.5, 3.0)
"""Seconds between two strokes, at least and at most."""
DOWN = (0.0, 2.0)
"""Seconds until one that was killed is started again."""
FROZEN = (LEASE_SECONDS + 1, LEASE_SECONDS + 4)
"""Seconds that one stands still: its leases are lost, and it knows nothing of that."""


@dataclass
class Member:
    """One or more processes that are started, frozen and killed together."""

    name: str
    platform: Platform
    commands: Sequence[Sequence[str]]
    broker: str
    programs: list[Program] = field(default_factory=list)
    struck: bool = False

    def start(self) -> None:
        self.programs = [
            self.platform.start(
                list(command), CELERY_BROKER_URL=self.broker, SIMULATED_DELIVERY_SECONDS="5"
            )
            for command in self.commands
        ]
        self.struck = False

    def kill(self) -> None:
        self.struck = True
        for program in self.programs:
            program.kill()

    def freeze(self) -> None:
        self.struck = True
        for program in self.programs:
            program.send(signal.SIGSTOP)

    def thaw(self) -> None:
        for program in self.programs:
            program.send(signal.SIGCONT)
        self.struck = False

    def tend(self) -> bool:
        """Start it again if it ended by itself, as who runs it would: a worker that cannot reach
        its database when it starts gives up."""
        if self.struck or not any(program.ended for program in self.programs):
            return False
        self.kill()
        self.start()
        return True


def crew(platform: Platform, broker: str, directory: Path) -> list[Member]:
    """One `runworker`, one with two processes, and Celery, which together do the work."""
    runworker = [sys.executable, str(MANAGE), "runworker"]
    celery = [sys.executable, "-m", "celery", "-A", "ecommerce"]
    threads = ["worker", "--pool", "threads", "--concurrency", "2", "--without-gossip"]
    beat = ["beat", "--schedule", str(directory / "schedule"), "--pidfile="]
    return [
        Member("runworker", platform, [runworker], broker),
        Member("runworker --processes 2", platform, [[*runworker, "--processes", "2"]], broker),
        Member(
            "celery",
            platform,
            [[*celery, *threads, "-l", "warning"], [*celery, *beat, "-l", "warning"]],
            broker,
        ),
    ]


@dataclass
class Storm:
    """Strikes one member after the other, by chance, until its time is over."""

    members: Sequence[Member]
    chance: random.Random
    strokes: list[str] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def rage(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        try:
            while (now := time.monotonic()) < end:
                self._wait(min(end, now + self.chance.uniform(*PAUSE)))
                self.strokes += [
                    f"ended: {member.name}" for member in self.members if member.tend()
                ]
                standing = [member for member in self.members if not member.struck]
                if standing:
                    self._strike(self.chance.choice(standing))
        finally:
            for _, revive in self._later:
                revive()

    def _strike(self, member: Member) -> None:
        if "frozen" not in " ".join(self.strokes) or self.chance.random() < 0.3:
            member.freeze()
            self._revive(member.thaw, FROZEN)
            self.strokes.append(f"frozen: {member.name}")
        else:
            member.kill()
            self._revive(member.start, DOWN)
            self.strokes.append(f"killed: {member.name}")

    def _revive(self, how: Callable[[], None], within: tuple[float, float]) -> None:
        self._later.append((time.monotonic() + self.chance.uniform(*within), how))

    def _wait(self, moment: float) -> None:
        def is_over() -> bool:
            now = time.monotonic()
            due = [each for each in self._later if each[0] <= now]
            self._later = [each for each in self._later if each[0] > now]
            for _, revive in due:
                revive()
            return now >= moment

        until(is_over, seconds=60)
