"""Which due calls a worker may start: those of its topics, while their policy has room.

Room is counted in the rows: an intent that is claimed and whose claim has not lapsed is in flight,
on whichever worker. Those who claim take turns by an advisory lock, so that two of them do not
both see the last free place. A crashed worker's places are free again when its claims lapse.

A service none of whose effects a policy limits is claimed from without any of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .database import Connection
from .messages import Contract, contract_of, decode
from .policies import DEFAULT_TOPIC, Policy, decide, possible
from .registry import handlers
from .services import ServiceConfig

LOOKED_AT = 500
"""Due intents that are looked at together."""

Room = dict[str, int]
"""How many more calls may start, by the name of each policy that limits them."""


@dataclass(frozen=True)
class Admission:
    """What may start of one service's effects, in a worker that takes these topics, or all."""

    effects: str
    policies: Mapping[str, Sequence[Policy]]
    """The policies that may be for each message, by its name."""
    topics: frozenset[str] | None

    def admit(self, conn: Connection, most: int) -> list[Any]:
        """The ids of intents to claim in this transaction, until whose end others wait."""
        room = self._room(conn)
        admitted: list[Any] = []
        last: tuple[datetime | None, Any] = None, None
        while True:
            rows = self._due(conn, self._closed(room), last)
            for effect, _, *about in rows:
                if len(admitted) == most:
                    return admitted
                if self._enter(_decided(*about), room):
                    admitted.append(effect)
            if len(rows) < LOOKED_AT:
                return admitted
            last = rows[-1][1], rows[-1][0]

    def _enter(self, policy: Policy | None, room: Room) -> bool:
        """Whether a call under this policy may start; if so, it takes its place."""
        if not self._wanted(policy):
            return False
        if policy is not None and policy.name in room:
            if room[policy.name] <= 0:
                return False
            room[policy.name] -= 1
        return True

    def _wanted(self, policy: Policy | None) -> bool:
        return self.topics is None or (policy.topic if policy else DEFAULT_TOPIC) in self.topics

    def _closed(self, room: Room) -> list[str]:
        """The messages of which none may start, whatever they contain and whosever they are."""
        return [
            name
            for name, policies in self.policies.items()
            if all(not self._wanted(each) or room.get(each.name, 1) <= 0 for each in policies)
            and (any(each.certain for each in policies) or not self._wanted(None))
        ]

    def _room(self, conn: Connection) -> Room:
        """Wait for one's turn, and count what is in flight."""
        limited = {p.name: p.concurrency for found in self.policies.values() for p in found}
        room = {name: most for name, most in limited.items() if most is not None}
        with conn.pipeline():
            conn.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%b::text, 0))", (self.effects,)
            )
            flying = conn.execute(
                f'SELECT {self._about()} FROM "{self.effects}" '
                "WHERE token IS NOT NULL AND due_at > messaging_now()",
                (self._asking,) * 2,
            )
        for about in flying.fetchall():
            policy = _decided(*about)
            if policy is not None and policy.name in room:
                room[policy.name] -= 1
        return room

    def _due(
        self, conn: Connection, closed: list[str], last: tuple[datetime | None, Any]
    ) -> list[tuple[Any, ...]]:
        return conn.execute(
            f"""SELECT id, due_at, {self._about()} FROM "{self.effects}"
                WHERE due_at <= messaging_now() AND name <> ALL(%b::text[])
                  AND (%b::timestamptz IS NULL OR (due_at, id) > (%b::timestamptz, %b::uuid))
                ORDER BY due_at, id LIMIT %b::int""",
            (self._asking, self._asking, closed, last[0], *last, LOOKED_AT),
        ).fetchall()

    @property
    def _asking(self) -> list[str]:
        """The messages whose content a policy asks for: the others' is not read."""
        return [name for name, found in self.policies.items() if any(p.where for p in found)]

    def _about(self) -> str:
        wanted = "CASE WHEN name = ANY(%b::text[]) THEN"
        return f"name, contract, tenant, recorded_at, {wanted} payload END, {wanted} personal END"


def admission(service: ServiceConfig, topics: frozenset[str] | None) -> Admission | None:
    """Who may start what of this service's effects; None when everything may start at once."""
    policies = {contract.name: possible(contract) for contract in _performed(service)}
    limited = any(policy.concurrency for found in policies.values() for policy in found)
    if topics is None and not limited:
        return None
    return Admission(service.tables.effect._meta.db_table, policies, topics)


def _performed(service: ServiceConfig) -> Iterator[Contract]:
    for handler in handlers(service.label):
        if handler.kind == "performs":
            yield from (contract_of(message) for message in handler.message_types)


def _decided(
    name: str, contract: int, tenant: str, at: datetime, payload: str, personal: str | None
) -> Policy | None:
    return decide(name, tenant, at, lambda: decode(name, contract, payload, personal)).policy
