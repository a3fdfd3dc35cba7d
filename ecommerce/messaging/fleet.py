"""Who works: the workers of all services, and which partitions each holds.

One statement for a database. These tables are small: a row for each partition and for each worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from .asking import ask_all
from .leases import LEASE_SECONDS
from .services import ServiceConfig, services
from .tenancy import EVERY, acting_for

BEHIND = 1000
"""Messages of one source that a partition may be behind the first before it counts as a laggard."""


class Held(msgspec.Struct, frozen=True):
    """A partition and its lease. `lease` is how many seconds it has left; below zero it ran out.

    `behind` says by how many positions it is behind the partition that has come farthest.
    """

    number: int
    owner: str | None
    token: int
    lease: float | None
    takeovers: int
    suspect: str | None
    behind: int

    @property
    def free(self) -> bool:
        """Whether nobody holds it."""
        return self.owner is None or self.lease is None or self.lease <= 0

    @property
    def lags(self) -> bool:
        """Whether it is far behind the others."""
        return self.behind > BEHIND


class Beat(msgspec.Struct, frozen=True):
    """A worker as one service knows it. `silent_for` is in seconds; `kind` is as in `leases`."""

    name: str
    kind: str
    started_at: datetime | None
    heartbeat_at: datetime
    silent_for: float
    signed_off: bool


@dataclass(frozen=True)
class Partitions:
    """The partitions of a service, by number."""

    service: str
    held: list[Held]

    @property
    def free(self) -> int:
        return sum(each.free for each in self.held)

    @property
    def notable(self) -> list[Held]:
        """Those that somebody should look at."""
        return [each for each in self.held if each.free or each.lags or each.takeovers]


@dataclass
class Member:
    """A worker over all services. `held` counts its partitions in each."""

    name: str
    kind: str
    started_at: datetime | None
    heartbeat_at: datetime
    silent_for: float
    signed_off: bool
    held: dict[str, int] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.name.rsplit(":", 2)[0]

    @property
    def process(self) -> str:
        """The process's number on its host."""
        return self.name.split(":")[-2] if self.name.count(":") > 1 else ""

    @property
    def total(self) -> int:
        return sum(self.held.values())

    @property
    def state(self) -> str:
        """`alive`, `silent` for longer than a lease lasts, or `left` when it signed off."""
        if self.signed_off:
            return "left"
        return "alive" if self.silent_for <= LEASE_SECONDS else "silent"


class _Found(msgspec.Struct):
    partitions: list[Held]
    workers: list[Beat]


def fleet() -> tuple[list[Member], list[Partitions]]:
    """The workers, those with most partitions first, and the partitions of each service."""
    with acting_for(EVERY):
        rows = ask_all(_statement)
    found = {label: msgspec.json.decode(text, type=_Found) for label, text in rows}
    members: dict[str, Member] = {}
    for beat in (beat for each in found.values() for beat in each.workers):
        member = members.get(beat.name)
        if member is None or member.silent_for > beat.silent_for:
            members[beat.name] = Member(
                **{name: getattr(beat, name) for name in Beat.__struct_fields__}
            )
    partitions = [Partitions(config.label, found[config.label].partitions) for config in services()]
    for each in partitions:
        for held in each.held:
            if not held.free and held.owner in members:
                counts = members[held.owner].held
                counts[each.service] = counts.get(each.service, 0) + 1
    return sorted(members.values(), key=lambda member: (-member.total, member.name)), partitions


def _statement(config: ServiceConfig) -> str:
    return f"""
        SELECT '{config.label}', json_build_object(
            'partitions', (
                SELECT json_agg(json_build_object(
                    'number', number, 'owner', owner, 'token', token, 'takeovers', takeovers,
                    'suspect', suspect, 'lease', extract(epoch FROM expires_at - messaging_now()),
                    'behind', (
                        SELECT coalesce(max((farthest.positions ->> source)::bigint - reached::bigint), 0)
                        FROM jsonb_each_text(p.positions) AS own(source, reached))) ORDER BY number)
                FROM "{config.tables.partition._meta.db_table}" AS p, (
                    SELECT jsonb_object_agg(source, position) AS positions FROM (
                        SELECT source, max(reached::bigint) AS position
                        FROM "{config.tables.partition._meta.db_table}",
                             jsonb_each_text(positions) AS each(source, reached)
                        GROUP BY source) AS by_source) AS farthest),
            'workers', (
                SELECT coalesce(json_agg(json_build_object(
                    'name', name, 'kind', kind, 'started_at', started_at,
                    'heartbeat_at', heartbeat_at, 'signed_off', signed_off,
                    'silent_for', extract(epoch FROM messaging_now() - heartbeat_at))), '[]')
                FROM "{config.tables.worker._meta.db_table}"))::text"""
