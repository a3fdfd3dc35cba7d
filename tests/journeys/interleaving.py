"""Services that hear of each other in any order that keeps each source's own.

A `Scheduler` carries out the deliveries, copies and calls of all services, one small step at a
time, in an order that a seed decides. It reads every source a random stretch further, and lets half
of all services be deaf to one source until nobody else has anything to do, so that of two sources
either may be far ahead. It sends some commands a second time; and between databases it copies
messages again that were copied before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from types import TracebackType

from ecommerce.messaging import log
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.drain import Drain
from ecommerce.messaging.effects import Effects
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.performer import has_effects
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.services import ServiceConfig, services
from ecommerce.messaging.subscriptions import readable, subscribed_names

ROUNDS_WITHOUT_WORK = 5
"""So many full rounds without any progress mean that there is nothing left to do."""
REPEATED = (
    "inventory.ReserveInventory",
    "inventory.ReleaseInventory",
    "inventory.CommitInventory",
    "payments.ProcessPayment",
    "payments.RefundPayment",
    "payments.RecordCharge",
    "payments.RecordVoid",
    "payments.RecordRefund",
    "shipping.CreateShipment",
    "shipping.RecordLabel",
    "shipping.RecordLabelRefused",
    "notifications.RecordNotification",
)
"""The commands of one service to another, or to itself, that are sent twice."""


class Scheduler:
    """All services in one hand. `with Scheduler(seed) as scheduler: scheduler.run()`.

    `deaf` says which service does not hear which other at first, if chance is not to.
    """

    def __init__(self, seed: int, deaf: Collection[tuple[str, str]] = ()) -> None:
        self.random = random.Random(seed)
        self.drains = [Drain(s, readable(s), f"hand-{s.label}") for s in services()]
        self._stack = ExitStack()
        self._reached: dict[tuple[str, str], int] = {}
        pairs = [
            (target.label, source.label)
            for target in services()
            for source in services()
            if target != source and subscribed_names(target.label, source.label)
        ]
        self._deaf = set(deaf or self.random.sample(pairs, len(pairs) // 2))

    def __enter__(self) -> Scheduler:
        aliases = {service.database for service in services()}
        self._conns = {alias: self._stack.enter_context(connect(alias)) for alias in aliases}
        pool = self._stack.enter_context(ThreadPoolExecutor(4, thread_name_prefix="effect"))
        self.effects = [
            Effects(s, f"hand-{s.label}", pool, Event()) for s in services() if has_effects(s)
        ]
        self._sources_conn = {alias: self._stack.enter_context(connect(alias)) for alias in aliases}
        self.relays = [
            Relay(source, target, self._sources_conn[source.database], self._conn(target), names)
            for target in services()
            for source in services()
            if source.database != target.database
            and (names := subscribed_names(target.label, source.label))
        ]
        self._stack.callback(self._release)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, *acts: Callable[[], object]) -> None:
        """Work until nothing is left, and do what people do at random moments meanwhile."""
        pending = list(acts)
        idle = 0
        while idle < ROUNDS_WITHOUT_WORK or pending:
            for drain in self.drains:
                drain.leases.hold(self._conn(drain.service))
            done = sum(self._step() for _ in range(3 * len(self.drains)))
            if pending and self.random.random() < 0.2:
                pending.pop(0)()
                done += 1
            idle = 0 if done else idle + 1
            if idle and self._deaf:
                self._deaf.remove(self.random.choice(sorted(self._deaf)))
                idle = 0

    def _step(self) -> int:
        match self.random.random():
            case chance if chance < 0.15:
                effects = self.random.choice(self.effects)
                done = effects.step(self._conn(effects.service))
                effects.finish(self._conn(effects.service), 10)
                return done
            case chance if chance < 0.5 and self.relays:
                relay = self.random.choice(self.relays)
                deaf = (relay.target.label, relay.source.label) in self._deaf
                return 0 if deaf else relay.copy()
            case chance if chance < 0.52 and self.relays:
                self._copy_again(self.random.choice(self.relays))
                return 0
            case _:
                return self._deliver(self.random.choice(self.drains))

    def _deliver(self, drain: Drain) -> int:
        """Deliver a few messages, from each source up to a random place."""
        conn = self._conn(drain.service)
        ends = drain.horizons(log.horizons(conn, sorted(drain.sources.values()), {}))
        upto = {}
        for source, end in ends.items():
            reached = self._reached.get((drain.name, source), 0)
            most = reached if (drain.name, source) in self._deaf else end
            upto[source] = self.random.choice((reached, self.random.randint(reached, most), most))
            self._reached[drain.name, source] = upto[source]
        limit = self.random.choice((1, 2, 5, 50))
        done = 0
        while got := drain.step(conn, upto, limit):
            done += got
        if done and self.random.random() < 0.3:
            self._send_again(drain.service)
        return done

    def _send_again(self, sender: ServiceConfig) -> None:
        """Append the newest command of a service to its log once more, once."""
        table = sender.tables.log._meta.db_table
        columns = ", ".join(log.ENVELOPE[1:])
        conn = self._conn(sender)
        with conn.transaction():
            conn.execute(
                "SELECT pg_advisory_xact_lock_shared(messaging_log_key(%b::text))", (table,)
            )
            conn.execute(
                f"""INSERT INTO "{table}" (message_id, {columns}, recorded_at)
                    SELECT %b::uuid, {columns}, messaging_now() FROM "{table}" l
                    WHERE name = ANY(%b::text[]) AND NOT EXISTS (
                        SELECT FROM "{table}" again WHERE again.position <> l.position
                          AND (again.tenant, again.stream, again.name, again.payload)
                            = (l.tenant, l.stream, l.name, l.payload))
                    ORDER BY position DESC LIMIT 1""",
                (uuid7(), list(REPEATED)),
            )

    def _copy_again(self, relay: Relay) -> None:
        """Forget how far an inbox has copied a source."""
        cursor = relay.target.tables.relay._meta.db_table
        relay.target_conn.execute(
            f'UPDATE "{cursor}" SET position = position / 2 WHERE source = %b',
            (relay.source.label,),
        )

    def _conn(self, config: ServiceConfig) -> Connection:
        return self._conns[config.database]

    def _release(self) -> None:
        for drain in self.drains:
            drain.leases.release(self._conn(drain.service))
