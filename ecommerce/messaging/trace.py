"""What happened to an order: its messages as a tree of causes, each with its deliveries.

Messages come from the logs, deliveries from the delivery logs, and what is not over from the
tables of effects, timers, parked deliveries and dead letters. Two kinds of messages are in no log:
the command that a person executed, and an effect that has been carried out. They are known by
their deliveries. Start reading at `trace`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from .database import Connection, connection
from .messages import contract_named, contract_of
from .registry import Handler, handler_named, handlers_of
from .services import ServiceConfig, services

SLACK = timedelta(seconds=60)
"""Longer than any batch takes from its clock to its commit."""
NEAR = 5000
"""Positions that are not worth narrowing down further."""

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
        self.floors: dict[str, int] = {}

    def trees(self) -> list[Node]:
        for config in services():
            self._in_log(config, "tenant = %b AND stream = %b", (self.tenant, self.stream))
        for config in services():
            self._not_logged(config)
        new = set(self.nodes)
        while new:
            self._deliveries(new)
            found = [node for config in services() for node in self._caused(config, new)]
            new = {node.message_id for node in found}
        for config in services():
            self._stuck(config)
        for node in list(self.nodes.values()):
            self._wait(node)
        return self._linked()

    def _in_log(self, config: ServiceConfig, where: str, values: Sequence[Any]) -> list[Node]:
        """Take messages from a service's log; return those that were not known."""
        with connection(config.database) as conn:
            rows = conn.execute(
                f"""SELECT message_id, name, stream, recorded_at, actor, cause_id, position, partition
                    FROM "{config.tables.log._meta.db_table}" WHERE {where} ORDER BY position""",
                values,
            ).fetchall()
        found = []
        for message_id, name, stream, at, actor, cause, position, partition in rows:
            if message_id not in self.nodes:
                kind = contract_named(name).kind
                node = Node(message_id, name, kind, config.label, stream, at, actor, cause)
                self.nodes[message_id] = node
                self.places[message_id] = (config.label, position, partition)
                found.append(node)
        return found

    def _caused(self, config: ServiceConfig, causes: set[uuid.UUID]) -> list[Node]:
        """What these messages caused on other streams. No index has causes, so ask a stretch."""
        log = config.tables.log._meta.db_table
        times = [node.at for node in self.nodes.values()]
        times += [hop.at for node in self.nodes.values() for hop in node.hops if hop.at]
        with connection(config.database) as conn:
            if log not in self.floors:
                self.floors[log] = _position(conn, log, min(times) - SLACK, -NEAR)
            upto = _position(conn, log, max(times) + SLACK, NEAR)
        where = "position > %b::bigint AND position <= %b::bigint AND cause_id = ANY(%b::uuid[])"
        return self._in_log(config, where, (self.floors[log], upto, list(causes)))

    def _deliveries(self, new: set[uuid.UUID]) -> None:
        """Take the deliveries of new messages, and of their causes that are in no log."""
        causes = {node.cause_id for node in self.nodes.values() if node.cause_id}
        wanted = list(new | (causes - self.nodes.keys()))
        for config in services():
            with connection(config.database) as conn:
                rows = conn.execute(
                    f"""SELECT message_id, handler, worker, outcome, attempt, waited_us, ran_us,
                               delivered_at, cause_id, policy
                        FROM "{config.tables.delivery._meta.db_table}"
                        WHERE message_id = ANY(%b::uuid[]) ORDER BY id""",
                    (wanted,),
                ).fetchall()
            for message_id, handler, worker, outcome, attempt, *us, at, cause, policy in rows:
                waited, ran = us
                ms = waited / 1000, ran / 1000
                hop = Hop(config.label, handler, outcome, at, worker, attempt, *ms, policy=policy)
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
        actor = "" if effect else hop.worker
        return Node(message_id, name, kind, hop.service, self.stream, due, actor, cause)

    def _not_logged(self, config: ServiceConfig) -> None:
        """Take the stream's effects and timers that are to come, and effects that are dead."""
        tables = config.tables
        columns = "message_id, name, stream, recorded_at, actor, cause_id"
        with connection(config.database) as conn:
            rows = conn.execute(
                f"""SELECT {columns}, 'effect', handler, attempts, due_at, error
                    FROM "{tables.effect._meta.db_table}" WHERE tenant = %b AND stream = %b
                    UNION ALL
                    SELECT {columns}, 'command', '', 0, due_at, ''
                    FROM "{tables.timer._meta.db_table}" WHERE tenant = %b AND stream = %b
                    UNION ALL
                    SELECT {columns}, 'effect', handler, attempts, NULL, error
                    FROM "{tables.dead._meta.db_table}" WHERE tenant = %b AND stream = %b""",
                (self.tenant, self.stream) * 3,
            ).fetchall()
        for message, name, stream, at, actor, cause, kind, handler, attempts, due, error in rows:
            if message in self.nodes:
                continue
            node = Node(message, name, kind, config.label, stream, at, actor, cause)
            if due is not None:
                hop = Hop(config.label, handler, "pending", due, attempt=attempts, error=error)
                node.hops.append(hop)
            self.nodes[message] = node

    def _stuck(self, config: ServiceConfig) -> None:
        """Take what is parked or dead of all messages that are known."""
        tables = config.tables
        with connection(config.database) as conn:
            rows = conn.execute(
                f"""SELECT message_id, handler, 'parked', due_at, attempts, error
                    FROM "{tables.parked._meta.db_table}" WHERE message_id = ANY(%b::uuid[])
                    UNION ALL
                    SELECT message_id, handler, 'dead', dead_at, attempts, error
                    FROM "{tables.dead._meta.db_table}"
                    WHERE message_id = ANY(%b::uuid[])
                      AND (state NOT IN ('resolved', 'retrying') OR due_at IS NOT NULL)""",
                (list(self.nodes), list(self.nodes)),
            ).fetchall()
        for message_id, handler, outcome, at, attempts, error in rows:
            hop = Hop(config.label, handler, outcome, at, attempt=attempts, error=error)
            self.nodes[message_id].hops.append(hop)

    def _wait(self, node: Node) -> None:
        """Add the deliveries that no worker has come to yet."""
        if node.message_id not in self.places:
            return
        source, position, partition = self.places[node.message_id]
        reached = {hop.handler for hop in node.hops}
        for config in services():
            missing = [
                handler
                for handler in handlers_of(contract_named(node.name).type, config.label)
                if handler.kind != "performs" and handler.name not in reached
            ]
            if missing and not self._passed(config, source, position, partition, node.message_id):
                node.hops += [Hop(config.label, handler.name, "waiting") for handler in missing]

    def _passed(
        self, config: ServiceConfig, source: str, position: int, partition: int, message: uuid.UUID
    ) -> bool:
        """Whether a service has read a message; then its delivery is over, and no longer logged."""
        with connection(config.database) as conn:
            if not _same_database(config, source):
                inbox = conn.execute(
                    f'SELECT position FROM "{config.tables.inbox._meta.db_table}" '
                    "WHERE message_id = %b::uuid",
                    (message,),
                ).fetchone()
                if inbox is None:
                    return False
                source, position = "inbox", inbox[0]
            (passed,) = conn.execute(
                f"""SELECT coalesce((positions->>%b)::bigint, 0) >= %b::bigint
                    FROM "{config.tables.partition._meta.db_table}" WHERE number = %b::int""",
                (source, position, partition),
            ).fetchone() or (False,)
        return bool(passed)

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


def _position(conn: Connection, log: str, instant: datetime, margin: int) -> int:
    """About where in a log an instant is: positions grow with time."""
    (high,) = conn.execute(f'SELECT coalesce(max(position), 0) FROM "{log}"').fetchone() or (0,)
    low = 0
    while high - low > NEAR:
        middle = (low + high) // 2
        row = conn.execute(
            f'SELECT recorded_at FROM "{log}" WHERE position >= %b::bigint '
            "ORDER BY position LIMIT 1",
            (middle,),
        ).fetchone()
        if row is None or row[0] >= instant:
            high = middle
        else:
            low = middle
    return (low if margin < 0 else high) + margin
