"""The hop map: an order's deliveries drawn over time, in a lane for each service.

Most steps take milliseconds, and some waits minutes. So by default each stretch between two things
that happened is as wide as the logarithm of its length; the true scale is there to compare.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ecommerce.messaging.services import services

from .hops import Span, duration

LEFT, WIDTH, RIGHT = 112, 900, 170
ROW, PAD, TOP = 19, 8, 26
CHARACTER = 6.1
LEAST = 3.0
"""How wide anything is at least."""
TICKS = 8
LONG = 1000.0
"""Milliseconds of a stretch that is marked as shortened."""


@dataclass(frozen=True)
class Bar:
    """A delivery in the picture: waiting from `x` to `start`, running for `width`."""

    span: Span
    x: float
    start: float
    width: float
    y: float

    @property
    def middle(self) -> float:
        return self.y + ROW / 2

    @property
    def text_x(self) -> float:
        return self.start + self.width + 4

    @property
    def waited(self) -> float:
        return self.start - self.x

    @property
    def told(self) -> str:
        """What it says when it is pointed at."""
        span, hop = self.span, self.span.hop
        parts = [
            f"{span.node.name} to {hop.handler}",
            f"{hop.outcome}, attempt {max(hop.attempt, 1)}",
        ]
        parts.append(f"waited {span.waited}" + ("" if span.is_open else f", ran {span.ran}"))
        return "; ".join([*parts, *([span.error] if span.error else [])])


@dataclass(frozen=True)
class Lane:
    """A service's part of the picture."""

    name: str
    y: float
    height: float
    bars: list[Bar]


@dataclass(frozen=True)
class Tick:
    """A line at an instant."""

    x: float
    label: str


@dataclass(frozen=True)
class Cut:
    """A stretch that is longer than it looks."""

    x: float
    width: float
    label: str

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True)
class HopMap:
    """All that the template draws."""

    lanes: list[Lane]
    ticks: list[Tick]
    cuts: list[Cut]
    links: list[str]
    height: float
    width: float = LEFT + WIDTH + RIGHT


class Scale:
    """From milliseconds to the place in the picture, and back."""

    def __init__(self, found: Sequence[Span], *, true: bool) -> None:
        points = {0.0, *(point for span in found for point in (span.begin, span.start, span.end))}
        self.times = sorted(points) if len(points) > 1 else [0.0, 1.0]
        widths = [right - left if true else math.log2(1 + (right - left) / 0.5)
                  for left, right in pairwise(self.times)]  # fmt: skip
        self.places = [float(LEFT)]
        for width in widths:
            self.places.append(self.places[-1] + width * WIDTH / sum(widths))

    def x(self, time: float) -> float:
        return _between(time, self.times, self.places)

    def time(self, x: float) -> float:
        return _between(x, self.places, self.times)


def hop_map(found: Sequence[Span], *, true: bool = False) -> HopMap:
    """The picture of these deliveries, with a true scale or one that shortens what is long."""
    scale = Scale(found, true=true)
    lanes: list[Lane] = []
    y = float(TOP)
    for config in services():
        own = [span for span in found if span.hop.service == config.label]
        bars, rows = _packed(own, scale, y + PAD)
        lanes.append(Lane(config.label, y, rows * ROW + 2 * PAD, bars))
        y += rows * ROW + 2 * PAD
    places = [LEFT + WIDTH * number / TICKS for number in range(TICKS + 1)]
    ticks = [Tick(_rounded(x), duration(scale.time(x))) for x in places]
    bars = [bar for lane in lanes for bar in lane.bars]
    return HopMap(lanes, ticks, [] if true else _cuts(scale, found), _links(bars), y)


def _packed(found: Sequence[Span], scale: Scale, top: float) -> tuple[list[Bar], int]:
    """Bars in as few rows as they need without overlapping, and how many rows these are."""
    free: list[float] = []
    bars = []
    for span in sorted(found, key=lambda span: (span.begin, span.start)):
        x, start = scale.x(span.begin), scale.x(span.start)
        width = max(scale.x(span.end) - start, LEAST)
        end = start + width + 4 + len(_written(span)) * CHARACTER + 6
        row = next((row for row, until in enumerate(free) if until <= x), len(free))
        free[row : row + 1] = [end]
        y = top + row * ROW
        bars.append(Bar(span, _rounded(x), _rounded(start), _rounded(width), y))
    return bars, max(len(free), 1)


def _written(span: Span) -> str:
    return f"{span.label}, {span.hop.attempt}." if span.hop.attempt > 1 else span.label


def _cuts(scale: Scale, found: Sequence[Span]) -> list[Cut]:
    """Long stretches in which nothing runs."""
    cuts = []
    for left, right in pairwise(scale.times):
        busy = any(span.start <= left and right <= span.end for span in found)
        if right - left >= LONG and not busy:
            x, end = scale.x(left), scale.x(right)
            cuts.append(Cut(_rounded(x), _rounded(end - x), duration(right - left)))
    return cuts


def _links(bars: Sequence[Bar]) -> list[str]:
    """Lines from each delivery to those of the messages that it sent."""
    placed = {bar.span: bar for bar in bars}
    found = []
    for bar in bars:
        sender = placed.get(bar.span.cause) if bar.span.cause else None
        if sender is not None:
            x, y = _rounded(sender.start + sender.width), sender.middle
            bend = max((bar.x - x) / 2, 10)
            found.append(
                f"M{x} {y}C{_rounded(x + bend)} {y} {_rounded(bar.x - bend)} {bar.middle} {bar.x} {bar.middle}"
            )
    return found


def _between(value: float, known: Sequence[float], wanted: Sequence[float]) -> float:
    index = min(max(bisect_right(known, value) - 1, 0), len(known) - 2)
    left, right = known[index], known[index + 1]
    share = (value - left) / (right - left) if right > left else 0.0
    return wanted[index] + min(max(share, 0.0), 1.0) * (wanted[index + 1] - wanted[index])


def _rounded(value: float) -> float:
    return round(value, 1)
