"""The deliveries of an order's messages as spans of time: since when each waited, when it ran.

A trace says of each delivery how long it waited and ran. Here that becomes a beginning, a start and
an end on one clock, and what caused it. A call outside is logged when it is over, anything else when
it begins. Start reading at `spans`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Literal

from ecommerce.messaging.registry import handler_named
from ecommerce.messaging.senders import made_by
from ecommerce.messaging.trace import Hop, Node

Part = Literal["outside", "running", "waiting", "idle"]
PARTS: dict[Part, str] = {
    "outside": "Calls outside",
    "running": "Handlers at work",
    "waiting": "Waiting for a worker",
    "idle": "Nothing due",
}
"""What the time of an order went into; at any instant the first that fits."""
OPEN = {"parked", "waiting", "pending"}
TONES = {"done": "good", "failed": "warn", "parked": "warn", "dead": "bad"}


@dataclass(eq=False)
class Span:
    """A delivery on the order's clock, in milliseconds since its first message."""

    number: int
    node: Node
    hop: Hop
    kind: str
    begin: float
    start: float
    end: float
    cause: Span | None = None

    @property
    def label(self) -> str:
        """The handler without its service."""
        return self.hop.handler.partition(".")[2] or self.hop.handler or "to be sent"

    @property
    def tone(self) -> str:
        """The badge of its outcome."""
        return TONES.get(self.hop.outcome, "info")

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done."""
        return self.hop.outcome in OPEN

    @property
    def error(self) -> str:
        """The last line of what went wrong."""
        lines = self.hop.error.strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def waited(self) -> str:
        return duration(self.start - self.begin)

    @property
    def ran(self) -> str:
        return duration(self.end - self.start)


@dataclass
class Line:
    """A message in the tree, with its deliveries."""

    node: Node
    depth: int
    at: str
    spans: list[Span] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.node.name.partition(".")[2]

    @property
    def indents(self) -> range:
        return range(self.depth)


@dataclass(frozen=True)
class Share:
    """What a part took of the whole, and where it stands in a bar of 100."""

    part: Part
    title: str
    took: str
    x: float
    percent: float


def spans(trees: Sequence[Node], now: datetime) -> list[Span]:
    """Every delivery, in the order of the tree."""
    began = min((node.at for tree in trees for node in tree.walk()), default=now)
    found: list[Span] = []
    for tree in trees:
        _span(tree, None, began, (now - began) / MS, found)
    return found


def lines(trees: Iterable[Node], found: Iterable[Span]) -> list[Line]:
    """The tree, line by line."""
    by_node: dict[int, list[Span]] = {}
    for span in found:
        by_node.setdefault(id(span.node), []).append(span)
    began = min((node.at for tree in trees for node in tree.walk()), default=None)

    def walk(node: Node, depth: int) -> Iterator[Line]:
        after = (node.at - began) / MS if began else 0
        yield Line(node, depth, duration(after), by_node.get(id(node), []))
        for child in node.children:
            yield from walk(child, depth + 1)

    return [line for tree in trees for line in walk(tree, 0)]


def breakdown(found: Sequence[Span]) -> dict[Part, float]:
    """How long each part took; they add up to the time from the first message to the last end."""
    edges = sorted({point for span in found for point in (0.0, span.begin, span.start, span.end)})
    took: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
    for left, right in pairwise(edges):
        doing = {_doing(span, left, right) for span in found}
        part = next(part for part in PARTS if part in doing or part == "idle")
        took[part] += right - left
    return took


def shares(found: Sequence[Span]) -> list[Share]:
    """The breakdown as a bar."""
    took = breakdown(found)
    total = sum(took.values()) or 1.0
    x, bar = 0.0, []
    for part, title in PARTS.items():
        percent = round(100 * took[part] / total, 2)
        bar.append(Share(part, title, duration(took[part]), round(x, 2), percent))
        x += percent
    return bar


def duration(ms: float) -> str:
    """As people say it: 0.18 ms, 12 ms, 1.4 s, 2 min 3 s."""
    if ms < 10:
        return f"{ms:.2f} ms" if ms else "0 ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


MS = timedelta(milliseconds=1)


def _span(
    node: Node, cause: Span | None, began: datetime, now: float, found: list[Span]
) -> list[Span]:
    recorded = (node.at - began) / MS
    since = max(recorded, cause.end if cause else 0.0)
    ended: dict[str, float] = {}
    own = []
    for hop in sorted(node.hops, key=lambda hop: (hop.attempt, hop.outcome == "waiting")):
        kind = handler_named(hop.handler).kind if hop.handler else "timer"
        at = (hop.at - began) / MS if hop.at else now
        due = at - hop.waited if hop.waited else 0.0
        begin = max(since, due, ended.get(hop.handler, 0.0))
        start, end = _times(hop, kind, at, begin, now)
        span = Span(len(found) + 1, node, hop, kind, min(begin, start), start, end, cause)
        ended[hop.handler] = end
        found.append(span)
        own.append(span)
    for child in node.children:
        _span(child, _sender(own, child), began, now, found)
    return own


def _times(hop: Hop, kind: str, at: float, begin: float, now: float) -> tuple[float, float]:
    """When it started and ended; what is still to be done has waited until now."""
    if hop.outcome in OPEN:
        return max(now, begin), max(now, begin)
    if hop.outcome == "dead":
        return max(at, begin), max(at, begin)
    if kind == "performs":
        return max(at - hop.ran, begin), max(at, begin)
    start = max(at, begin)
    return start, start + hop.ran


def _sender(own: Sequence[Span], child: Node) -> Span | None:
    """The delivery that caused a message: of those in its service, the one that may send it."""
    here = [span for span in own if span.hop.service == child.service]
    sent = [span for span in here if child.name in _may_send(span.hop.handler)]
    done = [span for span in sent or here or own if span.hop.outcome == "done"]
    return done[-1] if done else None


@cache
def _may_send(handler: str) -> set[str]:
    return made_by(handler_named(handler).function)


def _doing(span: Span, left: float, right: float) -> Part:
    if span.start <= left and right <= span.end:
        return "outside" if span.kind == "performs" else "running"
    is_due = not (span.is_open and span.hop.outcome != "waiting")
    if span.begin <= left and right <= span.start and is_due:
        return "waiting"
    return "idle"
