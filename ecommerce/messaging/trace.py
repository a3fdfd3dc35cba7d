"""What happened to an order: its messages as a tree of causes, each with its deliveries.

Messages come from the logs, deliveries from the delivery logs, and what is not over from the
tables of effects, timers, parked deliveries and dead letters. Two kinds of messages are in no log:
the command that a person executed, and an effect that has been carried out. They are known by
their deliveries. Start reading at `trace`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from .database import connection
from .messages import contract_named, contract_of
from .registry import Handler, handler_named, handlers_of
from .services import ServiceConfig, by_database, services

NOWHERE = 2**63 - 1
"""The position of what has not arrived."""

Kind = Literal["command", "event", "effect"]
Outcome = Literal["done", "failed", "parked", "dead", "waiting", "pending"]


class Hop(msgspec.Struct, rename="camel"):
    """One attempt to deliver a message to a handler, done or to come. Times in milliseconds.

    `waiting` deliveries have not been reached, `parked` ones are tried again at `at`, `pending`
    is an effect to be carried out at `at`.
    """

    service: str
    handler: str
    outcome: Outcome
    at: datetime | None = None
    worker: str = ""
    attempt: int = 0
    waited: float = 0.0
    ran: float = 0.0
    error: str = ""
    policy: str | None = None


class Node(msgspec.Struct, rename="camel"):
    """A message with its deliveries and what it caused.

    `at` is when it was recorded; for one that is in no log, when it was due.
    """

    message_id: uuid.UUID
    name: str
    kind: Kind
    service: str
    stream: str
    at: datetime
    actor: str
    cause_id: uuid.UUID | None = None
    hops: list[Hop] = msgspec.field(default_factory=list)
    children: list[Node] = msgspec.field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def trace(tenant: str, stream: str) -> list[Node]:
    """The trees of causes that a stream's messages belong to, oldest first; empty without any."""
    return _Tracer(tenant, stream).trees()


class _Tracer:
    def __init__(self, tenant: str, stream: str) -> None:
        self.tenant = tenant
        self.stream = stream
        self.nodes: dict[uuid.UUID, Node] = {}
        self.places: dict[uuid.UUID, tuple[str, int, int]] = {}
        """Source, position and partition of each message that is in a log."""
        self.correlations: set[uuid.UUID] = set()

    def trees(self) -> list[Node]:
        self._in_logs("tenant = %b AND stream = %b", self.tenant, self.stream)
        self._not_logged()
        new = set(self.nodes)
        while new:
            self._deliveries(new)
            new = self._caused(new)
        self._stuck()
        self._wait()
        return self._linked()

    def _in_logs(self, where: str, *values: Any) -> set[uuid.UUID]:
        """Take messages from the services' logs; return those that were not known."""
        rows = _ask(
            f"""SELECT '{{label}}', message_id, name, stream, recorded_at, actor, cause_id,
                       correlation_id, partition, position FROM {{log}} WHERE {where}""",
            *values,
        )
        found = set()
        for label, message_id, name, stream, at, actor, cause, correlation, *place in _sorted(rows):
            if message_id not in self.nodes:
                kind = contract_named(name).kind
                node = Node(message_id, name, kind, label, stream, at, actor, cause)
                self.nodes[message_id] = node
                partition, position = place
                self.places[message_id] = (label, position, partition)
                self.correlations.add(correlation)
                found.add(message_id)
        return found

    def _caused(self, causes: set[uuid.UUID]) -> set[uuid.UUID]:
        """What these messages caused on other streams. Only correlations have an index."""
        return self._in_logs(
            "correlation_id = ANY(%b::uuid[]) AND cause_id = ANY(%b::uuid[])",
            list(self.correlations),
            list(causes),
        )

    def _deliveries(self, new: set[uuid.UUID]) -> None:
        """Take the deliveries of new messages, and of their causes that are in no log."""
        causes = {node.cause_id for node in self.nodes.values() if node.cause_id}
        found = _ask(
            """SELECT '{label}', message_id, handler, worker, outcome, attempt, waited_us, ran_us,
                      delivered_at, cause_id, policy, id
               FROM {delivery} WHERE message_id = ANY(%b::uuid[])""",
            list(new | (causes - self.nodes.keys())),
        )
        for (
            label,
            message_id,
            handler,
            worker,
            outcome,
            attempt,
            *us,
            at,
            cause,
            policy,
            _,
        ) in _sorted(found):
            waited, ran = us
            ms = waited / 1000, ran / 1000
            hop = Hop(label, handler, outcome, at, worker, attempt, *ms, policy=policy)
            if message_id not in self.nodes:
                due = at - timedelta(microseconds=waited)
                self.nodes[message_id] = self._unlogged(message_id, hop, due, cause)
            self.nodes[message_id].hops.append(hop)

    def _unlogged(
        self, message_id: uuid.UUID, hop: Hop, due: datetime, cause: uuid.UUID | None
    ) -> Node:
        handler = _handler(hop.handler)
        name = contract_of(handler.message_types[0]).name if handler else hop.handler
        effect = handler is not None and handler.kind == "performs"
        kind: Kind = "effect" if effect else "command"
        actor = "" if effect else hop.worker.split(":", 2)[-1]
        return Node(message_id, name, kind, hop.service, self.stream, due, actor, cause)

    def _not_logged(self) -> None:
        """Take the stream's effects and timers that are to come, and effects that are dead."""
        columns = "SELECT '{label}', message_id, name, stream, recorded_at, actor, cause_id"
        there = "WHERE tenant = %b AND stream = %b"
        rows = _ask(
            f"""{columns}, 'effect', handler, attempts, due_at, error FROM {{effect}} {there}
                UNION ALL {columns}, 'command', '', 0, due_at, '' FROM {{timer}} {there}
                UNION ALL {columns}, 'effect', handler, attempts, NULL, error FROM {{dead}} {there}""",
            *(self.tenant, self.stream) * 3,
        )
        for label, message, name, on, at, actor, cause, kind, handler, attempts, due, error in rows:
            if message in self.nodes:
                continue
            node = Node(message, name, kind, label, on, at, actor, cause)
            if due is not None:
                hop = Hop(label, handler, "pending", due, attempt=attempts, error=error)
                node.hops.append(hop)
            self.nodes[message] = node

    def _stuck(self) -> None:
        """Take what is parked or dead of all messages that are known."""
        rows = _ask(
            """SELECT '{label}', message_id, handler, 'parked', due_at, attempts, error
               FROM {parked} WHERE message_id = ANY(%b::uuid[])
               UNION ALL
               SELECT '{label}', message_id, handler, 'dead', dead_at, attempts, error
               FROM {dead} WHERE message_id = ANY(%b::uuid[])
                 AND (state NOT IN ('resolved', 'retrying') OR due_at IS NOT NULL)""",
            *[list(self.nodes)] * 2,
        )
        for label, message_id, handler, outcome, at, attempts, error in rows:
            hop = Hop(label, handler, outcome, at, attempt=attempts, error=error)
            self.nodes[message_id].hops.append(hop)

    def _wait(self) -> None:
        """Add the deliveries that no worker has come to yet."""
        missing = {
            (message, config): handlers
            for message in self.places
            for config in services()
            if (handlers := self._not_reached(self.nodes[message], config))
        }
        if not missing:
            return
        arrived = self._arrived({message for message, _ in missing})
        numbers = sorted({self.places[message][2] for message, _ in missing})
        reached = {
            (label, number): positions
            for label, number, positions in _ask(
                "SELECT '{label}', number, positions FROM {partition} WHERE number = ANY(%b::int[])",
                numbers,
            )
        }
        for (message, config), handlers in missing.items():
            source, position, partition = self.places[message]
            if not _same_database(config, source):
                source, position = "inbox", arrived.get((config.label, message), NOWHERE)
            # What a service has read is delivered; then its delivery is no longer logged.
            if reached[config.label, partition].get(source, 0) < position:
                self.nodes[message].hops += [Hop(config.label, h.name, "waiting") for h in handlers]

    def _not_reached(self, node: Node, config: ServiceConfig) -> list[Handler]:
        reached = {hop.handler for hop in node.hops}
        return [
            handler
            for handler in handlers_of(contract_named(node.name).type, config.label)
            if handler.kind != "performs" and handler.name not in reached
        ]

    def _arrived(self, messages: set[uuid.UUID]) -> dict[tuple[str, uuid.UUID], int]:
        """Where in the inboxes the messages are that came from another database."""
        if len({config.database for config in services()}) == 1:
            return {}
        rows = _ask(
            "SELECT '{label}', message_id, position FROM {inbox} WHERE message_id = ANY(%b::uuid[])",
            list(messages),
        )
        return {(label, message): position for label, message, position in rows}

    def _linked(self) -> list[Node]:
        roots: list[Node] = []
        for node in sorted(self.nodes.values(), key=lambda node: node.at):
            parent = self.nodes.get(node.cause_id) if node.cause_id else None
            (parent.children if parent else roots).append(node)
        return roots


def unfinished(trees: Iterable[Node]) -> list[Hop]:
    """The deliveries that are not over, or ended badly."""
    return [
        hop
        for tree in trees
        for node in tree.walk()
        for hop in node.hops
        if hop.outcome in ("parked", "dead", "waiting", "pending")
    ]


def _handler(name: str) -> Handler | None:
    """The handler of that name, unless the code has lost it."""
    found = handler_named(name)
    return found if found.message_types else None


def _same_database(config: ServiceConfig, source: str) -> bool:
    return any(other.label == source and other.database == config.database for other in services())


def _ask(select: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement over every service's tables, with one statement for each database.

    In braces stand the service's tables and its label.
    """
    rows: list[tuple[Any, ...]] = []
    for alias, here in by_database(services()).items():
        with connection(alias) as conn:
            rows += conn.execute(
                " UNION ALL ".join(select.format_map(_tables(config)) for config in here),
                values * len(here),
            ).fetchall()
    return rows


def _tables(config: ServiceConfig) -> dict[str, str]:
    tables = {name: f'"{model._meta.db_table}"' for name, model in vars(config.tables).items()}
    return {"label": config.label, **tables}


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """By service, and in each by the number that stands last."""
    order = {config.label: number for number, config in enumerate(services())}
    return sorted(rows, key=lambda row: (order[row[0]], row[-1]))
