"""What the overview says: figures of every service, and how much flows between which two.

`state` is all of it as texts by name. The page is drawn from it, and the stream sends it again and
again, so that what is live looks like what was loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import msgspec
from django.conf import settings

from ecommerce.messaging.flows import PEOPLE, flows
from ecommerce.messaging.gauges import Gauge, gauges, percentile
from orders.queries import Traffic, traffic

SLOW_SECONDS = 5.0
"""Messages that wait longer are worth a look."""
PACES = (0.0, 1.0, 10.0, 100.0)
"""From how many messages a second on a flow is drawn faster."""

NOTHING = "—"

Edge = tuple[str, str]
"""A service, or PEOPLE, and a service that it sends messages to."""


MOODS = {
    "calm": "Calm",
    "busy": "Busy",
    "slow": "Slow",
    "stuck": "Stuck",
    "silent": "No workers",
}
"""What to think of a service, and how it is said."""


class State(msgspec.Struct):
    """Texts by name, such as `orders.in`; what to think of each service; the pace of each flow."""

    texts: dict[str, str]
    moods: dict[str, str]
    paces: dict[str, int]


def states(tenants: Sequence[str]) -> dict[str, State]:
    """The overview as each of these tenants sees it. Machinery is measured once for all."""
    measured = gauges(tenants)
    common = _common(measured)
    paces = {name(edge): _pace(rate) for edge, rate in _rates(measured).items()}
    return {found.tenant: _state(measured, found, common, paces) for found in traffic(tenants)}


def name(edge: Edge) -> str:
    """What the picture calls a flow."""
    return "-".join(edge)


@cache
def edges() -> dict[Edge, list[str]]:
    """Who sends to whom, and which messages; what a service tells itself is left out."""
    found: dict[Edge, set[str]] = defaultdict(set)
    for flow in flows():
        for sender in {sender.service or PEOPLE for sender in flow.senders}:
            for taker in {taker.service for taker in flow.takers} - {sender}:
                found[sender, taker].add(flow.contract.name)
    return {edge: sorted(names) for edge, names in sorted(found.items())}


def mood(gauge: Gauge, tenant: str) -> str:
    """Which of MOODS, the worst first."""
    late = gauge.canary_age is not None and gauge.canary_age > settings.READY_CANARY_SECONDS
    if not gauge.workers:
        return "silent"
    if late or gauge.parked[tenant] or gauge.dead[tenant]:
        return "stuck"
    if gauge.oldest > SLOW_SECONDS or gauge.held < gauge.partitions:
        return "slow"
    return "busy" if gauge.taken or gauge.calls else "calm"


def _state(
    measured: Sequence[Gauge], found: Traffic, common: dict[str, str], paces: dict[str, int]
) -> State:
    moods = {gauge.service: mood(gauge, found.tenant) for gauge in measured}
    says = {f"{service}.mood": MOODS[each] for service, each in moods.items()}
    own = {"total.orders": f"{found.placed:,}", "total.open": f"{found.under_way:,}"}
    stuck = {
        f"{gauge.service}.stuck": f"{gauge.parked[found.tenant] + gauge.dead[found.tenant]:,}"
        for gauge in measured
    }
    return State(common | own | stuck | says, moods, paces)


def _common(measured: Sequence[Gauge]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for gauge in measured:
        texts |= {
            f"{gauge.service}.in": rate(sum(gauge.taken.values())),
            f"{gauge.service}.out": rate(sum(gauge.sent.values())),
            f"{gauge.service}.waiting": f"{gauge.waiting:,}",
            f"{gauge.service}.oldest": duration(gauge.oldest) if gauge.waiting else NOTHING,
            f"{gauge.service}.calls": f"{gauge.calls:,}",
        }
    took = [gauge.took for gauge in measured]
    canaries = [gauge.canary_age for gauge in measured if gauge.canary_age is not None]
    middle, worst = percentile(took, 0.5), percentile(took, 0.99)
    return texts | {
        "total.p50": NOTHING if middle is None else duration(middle / 1000),
        "total.p99": NOTHING if worst is None else duration(worst / 1000),
        "total.canary": duration(max(canaries)) + " ago" if canaries else NOTHING,
        "total.workers": str(len(frozenset().union(*(gauge.workers for gauge in measured)))),
        "total.waiting": f"{sum(gauge.waiting for gauge in measured):,}",
    }


def _rates(measured: Sequence[Gauge]) -> dict[Edge, float]:
    by_service = {gauge.service: gauge for gauge in measured}
    return {edge: _rate(edge, messages, by_service) for edge, messages in edges().items()}


def _rate(edge: Edge, messages: Sequence[str], by_service: Mapping[str, Gauge]) -> float:
    sender, taker = edge
    if sender == PEOPLE:
        return sum(by_service[taker].asked.values())
    return sum(by_service[sender].sent.get(message, 0.0) for message in messages)


def _pace(found: float) -> int:
    return sum(found > limit for limit in PACES)


def rate(found: float) -> str:
    """A number a second, with as many digits as say something."""
    return f"{found:,.0f}" if found >= 10 or not found else f"{found:.1f}"


def duration(seconds: float) -> str:
    """A time as people say it: 4 ms, 1.2 s, 3 min."""
    for limit, unit, factor in _units():
        if seconds < limit:
            shown = seconds * factor
            return f"{shown:.1f} {unit}" if shown < 10 and unit != "ms" else f"{shown:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _units() -> Iterator[tuple[float, str, float]]:
    yield 1, "ms", 1000
    yield 60, "s", 1
    yield 3600, "min", 1 / 60
    yield 172_800, "h", 1 / 3600
