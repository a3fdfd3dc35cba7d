"""The ends of the logs, read once for all services of a worker.

Services follow the same logs, mostly at their ends: without this each would ask for the same few
messages, and decode them again. A tail is what was read of a log lately, for all services and all
partitions of this worker. Who is further behind than it reaches reads for itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from django.conf import settings

from .database import Connection
from .log import NOWHERE, Stored, read, stored
from .wire import Answer

MOST = 500
"""Messages read at a time."""
KEPT = 1000
"""Messages that a tail holds, besides those that come."""

_position = attrgetter("position")


@dataclass
class Tail:
    """All messages of a log behind `low`, up to `high`, that any of the services wants."""

    source: str
    log: str
    names: Sequence[str]
    low: int = 0
    high: int = 0
    messages: list[Stored] = field(default_factory=list)

    def begin(self, position: int) -> None:
        """Forget everything, and hold what comes behind this position from now on."""
        self.low = self.high = position
        self.messages = []

    def ask(self, conn: Connection, after: Sequence[int], horizon: int) -> Answer:
        """Let go of what is old, and ask, inside a pipeline, for what has come of each partition.

        Nothing is let go of later: who reads has been told by then how far back the tail reaches.
        """
        if len(self.messages) > KEPT:
            self.low = self.messages[-KEPT - 1].position
            del self.messages[:-KEPT]
        return conn.execute(*read(self.log, after, horizon, self.names, MOST))

    def take(self, cursor: Answer, horizon: int) -> None:
        """Add the answer."""
        new = [stored(self.source, row) for row in cursor.fetchall()]
        self.high = new[-1].position if len(new) == MOST else horizon
        self.messages += new

    def behind(
        self, after: Sequence[int], names: Collection[str], limit: int
    ) -> tuple[list[Stored], int]:
        """The messages of these names behind the positions of their partitions, as many as wanted,
        and how far that is."""
        start = bisect_right(self.messages, min(after), key=_position)
        found = [
            message
            for message in self.messages[start:]
            if message.position > after[message.partition] and message.name in names
        ]
        if len(found) > limit:
            found = found[:limit]
            return found, found[-1].position
        return found, self.high


class Tails:
    """The tails of all logs that some services read, for the partitions that any of them holds."""

    def __init__(self, wanted: Iterable[tuple[str, str, Collection[str]]]) -> None:
        """`wanted` tells for each service and source: the source, its log, and the names."""
        names: dict[tuple[str, str], set[str]] = {}
        for source, log, some in wanted:
            names.setdefault((source, log), set()).update(some)
        self.by_log = {
            log: Tail(source, log, sorted(some)) for (source, log), some in names.items()
        }
        self._partitions: frozenset[int] = frozenset()
        self._horizons: Mapping[str, int] = {}
        self._asked: list[tuple[Tail, Answer]] = []

    def forget(self) -> None:
        """Begin anew when next followed."""
        self._partitions = frozenset()
        self._horizons = {}

    def follow(self, partitions: frozenset[int], horizons: Mapping[str, int]) -> None:
        """What to ask for next. Other partitions than before mean a new beginning."""
        self._horizons = horizons
        if partitions != self._partitions:
            self._partitions = partitions
            for log, tail in self.by_log.items():
                tail.begin(horizons[log])

    @property
    def unread(self) -> bool:
        """Whether there is more than was asked for, which nobody may have noticed."""
        return any(self.by_log[log].high < end for log, end in self._horizons.items())

    def ask(self, conn: Connection) -> Mapping[str, Tail]:
        """Ask, inside a pipeline, for what has come; the tails by log, as they will be."""
        self._asked = []
        for log, tail in self.by_log.items():
            if self._horizons[log] > tail.high:
                after = [NOWHERE] * settings.MESSAGING_PARTITIONS
                for number in self._partitions:
                    after[number] = tail.high
                self._asked.append((tail, tail.ask(conn, after, self._horizons[log])))
        return self.by_log

    def take(self) -> None:
        """Add the answers, after the pipeline."""
        for tail, cursor in self._asked:
            tail.take(cursor, self._horizons[tail.log])
