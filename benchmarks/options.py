"""How much a run of the benchmarks measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Failed(Exception):
    """A run left something undone, or broke what must hold: its figures do not count."""


@dataclass(frozen=True)
class Options:
    """What the command line asks of every part.

    With `quick` a part does everything it does, but with so little of it that its figures mean
    nothing. `hour` is for the long run.
    """

    rounds: int
    quick: bool = False
    hour: bool = False

    @property
    def workers(self) -> int:
        """Worker processes, where their number is not the question. One starts sooner."""
        return self.sized(2, 1)

    def sized(self, full: T, quick: T) -> T:
        """The first, or the second when only a smoke test is wanted."""
        return quick if self.quick else full
