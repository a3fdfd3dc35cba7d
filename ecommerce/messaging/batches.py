"""What a worker reads to deliver: the next messages of all sources, for all partitions it holds.

A busy stream or tenant must not stand before all others. So when a read is full, some partitions
make up more than their share of it, and there is more for others behind it, the busy ones lag from
then on: they are read by themselves until they have caught up, in smaller pieces while the others
have something to do, who go on without them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from django.conf import settings

from . import parking
from .database import Connection
from .leases import Leases, Reached
from .log import NOWHERE, Stored, read, stored
from .tails import Tail
from .wire import Answer

BATCH = 500
"""Messages read from one source at a time."""
LAGGING_BATCH = 100
"""The same for partitions that lag."""
SHARE = 4
FEW = 10
"""A partition is busy that has SHARE times the average part of a full read, or half of it; but fewer
messages than these hold nobody up."""

_recorded = attrgetter("recorded_at")


@dataclass(frozen=True)
class Batch:
    """What was read: messages in order, how far that brings each partition, and the clock.

    `held_back` are the streams that have a parked delivery, by handler.
    """

    messages: Sequence[Stored]
    reached: Reached
    held_back: parking.HeldBack
    now: datetime


@dataclass(frozen=True)
class Reading:
    """The question for what is new in one source, behind the positions of some partitions: asked
    of the database, or of the tail that will reach so far."""

    source: str
    log: str
    horizon: int
    after: Sequence[int]
    names: Collection[str]
    limit: int
    lagging: bool
    answer: Answer | Tail

    def result(self) -> tuple[list[Stored], int]:
        """The messages, and how far they were read."""
        if isinstance(self.answer, Tail):
            return self.answer.behind(self.after, self.names, self.limit)
        rows = [stored(self.source, row) for row in self.answer.fetchall()]
        return rows, rows[-1].position if len(rows) == self.limit else self.horizon


@dataclass(frozen=True)
class Look:
    """Questions under way in a pipeline."""

    readings: Sequence[Reading]
    lagging: frozenset[int]


def look(
    conn: Connection,
    leases: Leases,
    sources: Mapping[str, str],
    names: Mapping[str, Collection[str]],
    horizons: Mapping[str, int],
    limit: int,
    tails: Mapping[str, Tail],
) -> Look | None:
    """Ask, inside a pipeline, for what is new up to the horizons; None when nothing can be.

    What the tail of a log reaches back to is taken from there.
    """
    lagging = frozenset(leases.lagging if not leases.careful else ())
    limit = 1 if leases.careful else limit
    piece = limit if leases.others_rest else min(limit, LAGGING_BATCH)
    readings = []
    for late, among, most in (
        (False, leases.held.keys() - lagging, limit),
        (True, lagging, piece),
    ):
        for source, log in sources.items():
            if leases.behind(source, horizons[source], among):
                after = leases.after(source, settings.MESSAGING_PARTITIONS, among)
                asked = (source, log, horizons[source], after, names[source], most, late)
                tail = tails.get(log)
                if tail is not None and tail.low <= min(after):
                    readings.append(Reading(*asked, tail))
                else:
                    question = read(log, after, horizons[source], list(names[source]), most)
                    readings.append(Reading(*asked, conn.execute(*question)))
    if not readings:
        return None
    return Look(readings, lagging)


def found(
    conn: Connection, asked: Look, leases: Leases, now: datetime, held_back: parking.HeldBack
) -> Batch | None:
    """The batch that the answers are; None, and the leases are moved on, when nothing is new."""
    reached = Reached({}, asked.lagging, {})
    keeping_up, lagging = [], []
    full = late = False
    for reading in asked.readings:
        rows, end = reading.result()
        is_full = end < reading.horizon
        if reading.lagging:
            reached.positions_lagging[reading.source] = end
            lagging.append(rows)
            late = late or is_full
        else:
            reached.positions[reading.source] = end
            keeping_up.append(rows)
            full = full or is_full
    leases.others_rest = not any(keeping_up)
    if not late:
        leases.lagging -= asked.lagging
    if full and not leases.careful:
        mine = leases.held.keys() - asked.lagging
        busy, others = _apart(keeping_up, mine)
        if busy and _waits(conn, asked, reached, leases, others):
            leases.lagging |= busy
    lists = [rows for rows in (*keeping_up, *lagging) if rows]
    messages = lists[0] if len(lists) == 1 else list(heapq.merge(*lists, key=_recorded))
    if not messages:
        leases.advance(reached)
        return None
    return Batch(messages, reached, held_back, now)


def _apart(
    lists: Sequence[Sequence[Stored]], partitions: Collection[int]
) -> tuple[set[int], frozenset[int]]:
    """Those partitions that make up more than their share of what was read, and those that do not
    have half of it."""
    counts = Counter(message.partition for rows in lists for message in rows)
    most = min(SHARE / len(partitions), 0.5) * counts.total()
    busy = {number for number in partitions if counts[number] >= max(most, FEW)}
    return busy, frozenset(number for number in partitions if counts[number] < most / 2)


def _waits(
    conn: Connection, asked: Look, reached: Reached, leases: Leases, others: frozenset[int]
) -> bool:
    """Whether there is more for these partitions behind what was read. What was looked through in
    vain is not looked through again."""
    for reading in asked.readings:
        if reading.lagging:
            continue
        who, end = leases.looked_through.get(reading.source, (others, 0))
        end = max(end if who == others else 0, reached.positions[reading.source])
        after = [end if n in others else NOWHERE for n in range(len(reading.after))]
        if end < reading.horizon:
            question = read(reading.log, after, reading.horizon, list(reading.names), 1)
            if conn.execute(*question).fetchone():
                return True
            leases.looked_through[reading.source] = (others, reading.horizon)
    return False
