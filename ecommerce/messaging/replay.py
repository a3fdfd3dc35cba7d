"""The events of a service, given once more to some of its projections, beside the real tables.

The handlers run by the kernel's own code on temporary tables of the same names: a temporary table
hides the real one, so even the kernel's SQL is the same. `projections` compares and swaps.

What the real tables contain is known exactly: a batch commits its rows, its positions and its
parked and dead deliveries together, and `catch_up` reads all three in one statement. What is
parked or dead is not in the tables, so it is left out here as well, and counted.

A service reads its inbox for sources in other databases. So does this: it holds the same messages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.conf import settings

from .database import Connection
from .delivery import Delivery, TooManyFailures, run, workspace_for
from .errors import MessagingError
from .log import ENVELOPE, Stored, stored
from .messages import contract_named
from .models import ReadModel
from .registry import Handler, handlers_of
from .rows import table
from .services import ServiceConfig
from .subscriptions import readable, subscribed_names
from .transactions import load

BATCH = 500
"""Messages read from one source at a time."""
SHORT_STRETCH = 2000
"""So few messages may be left for when nobody else may write."""
MOST_STRETCHES = 20

Bounds = dict[str, list[int]]
"""A position in each source for each partition."""
Missed = set[tuple[str, str]]
"""Deliveries that were not done, by handler and message id."""
Watch = Callable[[int, int], None]
"""Is told after each batch how many events were read, and of about how many. It may raise."""


def unwatched(_events: int, _total: int) -> None:
    """Nobody looks."""


class RebuildFailed(MessagingError):
    """A projection cannot apply an event that it has applied before; nothing was changed."""


@dataclass(frozen=True)
class Difference:
    """One row that is not what the events give: by column, what was found and what was expected.

    Without `columns` the row is missing (not `found`), or should not exist.
    """

    model: str
    tenant: str
    key: tuple[Any, ...]
    found: bool = True
    columns: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        row = f"{self.model} {self.tenant}/{'/'.join(str(part) for part in self.key)}"
        if not self.columns:
            return f"{row} {'should not exist' if self.found else 'is missing'}"
        wrong = (f"{name} is {a!r}, not {b!r}" for name, (a, b) in self.columns.items())
        return f"{row}: {', '.join(wrong)}"


class Replay:
    """Temporary tables for some read models, and how far they are filled."""

    def __init__(
        self,
        conn: Connection,
        config: ServiceConfig,
        models: Sequence[type[ReadModel]],
        handlers: Sequence[Handler],
    ) -> None:
        self.conn = conn
        self.service = config
        self.models = models
        self.handlers = handlers
        self.sources = readable(config)
        self.events = self.total = 0
        self.missed: dict[tuple[str, str], tuple[Stored, Handler]] = {}
        self._reached: Bounds = {s: [0] * settings.MESSAGING_PARTITIONS for s in self.sources}
        self._real = {model: _qualified(conn, model) for model in models}
        for model, real in self._real.items():
            conn.execute(f"CREATE TEMPORARY TABLE {table(model).name} (LIKE {real} INCLUDING ALL)")

    def approach(self, watch: Watch) -> None:
        """Apply what the tables contain, until little is left that was added meanwhile."""
        self.total = self._count()
        for _ in range(MOST_STRETCHES):
            before = self.events
            self.catch_up(watch)
            if self.events - before <= SHORT_STRETCH:
                return

    def catch_up(self, watch: Watch = unwatched) -> None:
        """Apply what the tables contain by now. Raises RebuildFailed, and whatever `watch` raises."""
        bounds, missed = self._state()
        settled = [self.missed.pop(key) for key in list(self.missed) if key not in missed]
        self._apply([Delivery(m, m.message(), handler) for m, handler in settled])
        while (messages := self._read(bounds)) is not None:
            self._apply(list(self._deliveries(messages, missed)))
            self.events += len(messages)
            watch(self.events, max(self.events, self.total))
        watch(self.events, max(self.events, self.total))

    def lock(self) -> None:
        """Let nobody else write the real tables until COMMIT; wait for those who do."""
        # In the order in which batches lock them.
        for model in sorted(self.models, key=lambda model: model._meta.label):
            self.conn.execute(f"LOCK TABLE {self._real[model]} IN EXCLUSIVE MODE")

    def plan_for_sets(self) -> None:
        """Undo, until COMMIT, what the kernel tells the planner: whole tables come next."""
        for method in ("seqscan", "hashjoin", "mergejoin"):
            self.conn.execute(f"SET LOCAL enable_{method} = on")

    def differences(self, model: type[ReadModel]) -> list[Difference]:
        """The rows in which the real table is not like the temporary one."""
        real, made = self._real[model], table(model).name
        keys = ("tenant", *model.key_columns())
        named = ", ".join(f'coalesce(r."{name}", n."{name}")' for name in keys)
        rows = self.conn.execute(
            f"""SELECT {named}, to_jsonb(r) - 'id', to_jsonb(n) - 'id'
                FROM {real} r FULL JOIN {made} n ON {_same(model)}
                WHERE to_jsonb(r) - 'id' IS DISTINCT FROM to_jsonb(n) - 'id' ORDER BY {named}"""
        ).fetchall()
        label = model._meta.label
        return [
            Difference(
                label, tenant, tuple(key), before is not None, _between(model, before, after)
            )
            for tenant, *key, before, after in rows
        ]

    def replace(self, model: type[ReadModel]) -> None:
        """Make the real table like the temporary one; rows that exist keep their ids."""
        real, made, same = self._real[model], table(model).name, _same(model)
        columns = [f'"{column.name}"' for column in table(model).columns if column.name != "id"]
        found = ", ".join(f"r.{column}" for column in columns)
        expected = ", ".join(f"n.{column}" for column in columns)
        names = ", ".join(('"id"', *columns))
        self.conn.execute(
            f"DELETE FROM {real} r WHERE NOT EXISTS (SELECT FROM {made} n WHERE {same})"
        )
        self.conn.execute(
            f"UPDATE {real} r SET ({', '.join(columns)}) = ROW({expected}) FROM {made} n "
            f"WHERE {same} AND ROW({found}) IS DISTINCT FROM ROW({expected})"
        )
        self.conn.execute(
            f"INSERT INTO {real} ({names}) SELECT {names} FROM {made} n "
            f"WHERE NOT EXISTS (SELECT FROM {real} r WHERE {same})"
        )

    def _state(self) -> tuple[Bounds, Missed]:
        tables = self.service.tables
        positions, missed = self.conn.execute(
            f"""SELECT (SELECT jsonb_object_agg(number, positions)::text
                        FROM "{tables.partition._meta.db_table}"),
                       (SELECT coalesce(jsonb_agg(ARRAY[handler, message_id::text]), '[]')::text
                        FROM (SELECT handler, message_id FROM "{tables.parked._meta.db_table}"
                              UNION ALL
                              SELECT handler, message_id FROM "{tables.dead._meta.db_table}"
                              WHERE state <> 'resolved') AS m
                        WHERE handler = ANY(%b::text[]))""",
            ([handler.name for handler in self.handlers],),
        ).fetchone() or (None, "[]")
        by_partition = msgspec.json.decode(positions or "{}", type=dict[int, dict[str, int]])
        bounds = {
            source: [
                by_partition.get(number, {}).get(source, 0)
                for number in range(settings.MESSAGING_PARTITIONS)
            ]
            for source in self.sources
        }
        return bounds, set(msgspec.json.decode(missed, type=list[tuple[str, str]]))

    def _count(self) -> int:
        """How many events there are to read, about."""
        total = 0
        for source, upto in self._state()[0].items():
            (found,) = self.conn.execute(
                f"""SELECT count(*) FROM "{self.sources[source]}"
                    WHERE position <= (%b::bigint[])[partition + 1] AND name = ANY(%b::text[])""",
                (upto, self._names(source)),
            ).fetchone() or (0,)
            total += found
        return total

    def _read(self, bounds: Bounds) -> list[Stored] | None:
        """The next messages up to the bounds, in order; None when all are read."""
        read = []
        for source, upto in bounds.items():
            after, names = self._reached[source], self._names(source)
            if not names or all(a >= b for a, b in zip(after, upto, strict=True)):
                continue
            rows = self.conn.execute(
                f"""SELECT position, {", ".join(ENVELOPE)}, recorded_at FROM "{self.sources[source]}"
                    WHERE position > %b::bigint AND position <= %b::bigint
                      AND position > (%b::bigint[])[partition + 1]
                      AND position <= (%b::bigint[])[partition + 1] AND name = ANY(%b::text[])
                    ORDER BY position LIMIT %b::int""",
                (min(after), max(upto), after, upto, names, BATCH),
            ).fetchall()
            end = rows[-1][0] if len(rows) == BATCH else max(upto)
            self._reached[source] = [max(a, min(b, end)) for a, b in zip(after, upto, strict=True)]
            read.append([stored(source, row) for row in rows])
        return list(heapq.merge(*read, key=lambda message: message.recorded_at)) if read else None

    def _names(self, source: str) -> list[str]:
        heard = {kind for handler in self.handlers for kind in handler.message_types}
        subscribed = subscribed_names(self.service.label, source)
        return [name for name in subscribed if contract_named(name).type in heard]

    def _deliveries(self, messages: Iterable[Stored], missed: Missed) -> Iterator[Delivery]:
        for message in messages:
            for handler in handlers_of(contract_named(message.name).type, self.service.label):
                key = (handler.name, str(message.message_id))
                if handler in self.handlers and key in missed:
                    self.missed[key] = (message, handler)
                elif handler in self.handlers:
                    yield Delivery(message, message.message(), handler)

    def _apply(self, deliveries: list[Delivery]) -> None:
        if not deliveries:
            return
        workspace = workspace_for(deliveries)
        load(self.conn, workspace)
        (now,) = self.conn.execute("SELECT messaging_now()").fetchone() or (None,)
        assert now is not None
        try:
            writes = run(self.service.label, deliveries, workspace, now).writes(self.service.tables)
        except TooManyFailures:
            writes = []
        for delivery in deliveries:
            if delivery.error is not None:
                what = f"{delivery.stored.name} {delivery.stored.message_id}"
                raise RebuildFailed(f"{delivery.handler.name} fails on {what}\n{delivery.error}")
        with self.conn.pipeline():
            for statement in writes:
                self.conn.execute(*statement)


def _qualified(conn: Connection, model: type[ReadModel]) -> str:
    (name,) = conn.execute(
        "SELECT format('%%I.%%I', relnamespace::regnamespace, relname) FROM pg_class "
        "WHERE oid = %b::text::regclass",
        (table(model).name,),
    ).fetchone() or ("",)
    return str(name)


def _same(model: type[ReadModel]) -> str:
    keys = ("tenant", *model.key_columns())
    return " AND ".join(f'r."{name}" = n."{name}"' for name in keys)


def _between(
    model: type[ReadModel], before: dict[str, Any] | None, after: dict[str, Any] | None
) -> dict[str, tuple[Any, Any]]:
    if before is None or after is None:
        return {}
    names = [column.name for column in table(model).columns if column.name != "id"]
    return {name: (before[name], after[name]) for name in names if before[name] != after[name]}
