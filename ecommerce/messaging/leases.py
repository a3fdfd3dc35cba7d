"""Which worker holds which partitions of a service.

A partition's row is its lease, its fencing token and its position in each source. A worker renews
its leases by the database's clock; one that falls silent loses them, and whoever takes over gets a
new token. The statement that completes a batch checks token and expiry in the batch's own
transaction (`complete`), so a worker that lost its lease changes nothing, however late it wakes.

Workers share partitions evenly. One that holds more than its share gives the surplus back, one
that holds less takes what is free: joining or leaving moves no partition twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec

from .arrays import by_column
from .database import Connection
from .log import NOWHERE, Stored
from .names import lacking
from .rows import Statement
from .tables import ServiceTables

LEASE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
FORGET_WORKER_SECONDS = 60.0
PROCESS, TASK = "process", "task"
"""Kinds of workers: one that works until it is stopped, and one that ends when nothing is left."""

logger = logging.getLogger(__name__)


@dataclass
class Lease:
    """One partition that this worker holds."""

    number: int
    token: int
    positions: dict[str, int]
    takeovers: int


@dataclass(frozen=True)
class Reached:
    """How far each source was read, for the partitions that keep up and for those that lag."""

    positions: dict[str, int]
    lagging: frozenset[int] = frozenset()
    positions_lagging: dict[str, int] = field(default_factory=dict)

    def of(self, partition: int) -> dict[str, int]:
        """The positions that a partition has reached."""
        return self.positions_lagging if partition in self.lagging else self.positions

    def by(self, message: Stored) -> Reached:
        """The same with one message only."""
        alone = {message.source: message.position}
        if message.partition in self.lagging:
            return Reached({}, self.lagging, alone)
        return Reached(alone, self.lagging)


@dataclass
class Leases:
    """The partitions of one service that this worker holds."""

    tables: ServiceTables
    worker: str
    known: Sequence[str]
    """The handlers that this code has."""
    lacking: Sequence[str] = ()
    """Those that it does not have, and that have run here: then it holds nothing. See `names`."""
    kind: str = PROCESS
    held: dict[int, Lease] = field(default_factory=dict)
    lagging: set[int] = field(default_factory=set)
    """Held partitions that are so busy that the others do not wait for them."""
    level: dict[str, int] = field(default_factory=dict)
    """How far each source was read for all held partitions, at least."""
    others_rest: bool = True
    """Whether these others had nothing to do when last looked."""
    looked_through: dict[str, tuple[frozenset[int], int]] = field(default_factory=dict)
    """Up to where each source holds nothing for partitions that are not busy, and for which."""
    certain: bool = True
    """Whether positions in memory are those in the database. Not so after a connection was lost in
    a commit, of which nobody knows whether it took place."""

    def hold(self, conn: Connection) -> None:
        """Beat, renew what is held, and take or give back partitions up to a fair share."""
        hold_all(conn, [self])

    def share(self, conn: Connection, renewed: str | None, total: int, others: int) -> None:
        """Take or give back partitions, after those whose positions are given were renewed."""
        positions = msgspec.json.decode(renewed or "{}", type=dict[int, dict[str, int]])
        self.held = {number: self.held[number] for number in sorted(positions)}
        if not self.certain:
            self.level.clear()
            for number, lease in self.held.items():
                lease.positions = positions[number]
            self.certain = True
        share = math.ceil(total / (others + 1))
        self._give_back(conn, sorted(self.held)[share:])
        if len(self.held) < share:
            self._disarm(conn)
            self._take(conn, share - len(self.held))
        self.lagging &= self.held.keys()

    def release(self, conn: Connection) -> None:
        """Give everything back and sign off: the next worker need not wait for the expiry."""
        workers = self.tables.worker._meta.db_table
        with conn.transaction():
            conn.execute(*self.renewal())
            self._give_back(conn, sorted(self.held))
            conn.execute(
                f'UPDATE "{workers}" SET signed_off = true WHERE name = %b', (self.worker,)
            )

    def after(self, source: str, partitions: int, among: Collection[int]) -> list[int]:
        """The position in a source of each partition by number; NOWHERE for those not `among`."""
        positions = [NOWHERE] * partitions
        for number in among:
            positions[number] = self.held[number].positions.get(source, 0)
        return positions

    def behind(self, source: str, horizon: int, among: Collection[int]) -> bool:
        """Whether any of these partitions has not been read up to the horizon."""
        if self.level.get(source, -1) >= horizon:
            return False
        return any(self.held[number].positions.get(source, 0) < horizon for number in among)

    def advance(self, reached: Reached) -> None:
        """Move partitions forward, in memory."""
        for number, lease in self.held.items():
            for source, position in reached.of(number).items():
                lease.positions[source] = max(lease.positions.get(source, 0), position)
        if not reached.lagging:
            self.level |= {
                source: max(self.level.get(source, -1), position)
                for source, position in reached.positions.items()
            }

    def complete(self, reached: Reached, touched: Collection[int]) -> list[Statement]:
        """The statements that store how far the touched partitions were read if every lease is
        still ours, and fail if not.

        The transaction then fails with the error that `commit` recognises. What was read past is
        stored for other partitions by the next renewal.
        """
        numbers = sorted(touched)
        held = [self.held[number] for number in numbers]
        stored = [
            msgspec.json.encode(
                lease.positions
                | {
                    source: max(lease.positions.get(source, 0), position)
                    for source, position in reached.of(lease.number).items()
                }
            ).decode()
            for lease in held
        ]
        table = self.tables.partition._meta.db_table
        sql = f"""
            WITH done AS (
                UPDATE "{table}" p SET positions = u.positions::jsonb
                FROM unnest(%b::int[], %b::bigint[], %b::text[]) AS u(number, token, positions)
                WHERE p.number = u.number AND p.token = u.token AND p.owner = %b::text
                  AND p.expires_at > messaging_now()
                RETURNING 1
            ) SELECT messaging_require(count(*) = %b::int, 'lease lost') FROM done"""
        moved = zip(numbers, [lease.token for lease in held], stored, strict=True)
        arrays = by_column(("int[]", "bigint[]", "text[]"), moved)
        return [(sql, (*arrays, self.worker, len(held)))]

    def suspect(self, conn: Connection, delivery: str) -> int:
        """Note which message is about to run alone; how often it has been tried so.

        Committed at once, so that a message which kills its worker is known by its count.
        """
        table = self.tables.partition._meta.db_table
        with conn.transaction():
            rows = conn.execute(
                f"""UPDATE "{table}" SET suspect = %b::text,
                        suspect_attempts = CASE WHEN suspect = %b::text THEN suspect_attempts + 1 ELSE 1 END
                    WHERE number = ANY(%b::int[]) AND owner = %b::text AND takeovers > 0
                    RETURNING suspect_attempts""",
                (delivery, delivery, sorted(self.held), self.worker),
            ).fetchall()
        return max((attempts for (attempts,) in rows), default=1)

    def trust_again(self, conn: Connection) -> None:
        """The range that a lost worker may have died in has been run: back to batches."""
        table = self.tables.partition._meta.db_table
        conn.execute(
            f"""UPDATE "{table}" SET takeovers = 0, suspect = NULL, suspect_attempts = 0
                WHERE number = ANY(%b::int[]) AND owner = %b::text AND takeovers > 0""",
            (sorted(self.held), self.worker),
        )
        for lease in self.held.values():
            lease.takeovers = 0

    @property
    def careful(self) -> bool:
        """Whether holders were lost twice in a row: perhaps a message kills them. Losing one is
        most often somebody's doing, and running singly would make that expensive."""
        return any(lease.takeovers > 1 for lease in self.held.values())

    @property
    def taken_over(self) -> bool:
        """Whether a former holder of one of these partitions was lost at work."""
        return any(lease.takeovers for lease in self.held.values())

    def renewal(self, *, positions: bool = True) -> Statement:
        """The statement that renews the leases that have not expired; it returns their positions,
        after those in memory are stored, if they shall be and are certain.

        Another thread than the one that delivers must not store them: they may be moving.
        """
        leases = sorted(self.held.values(), key=attrgetter("number"))  # the order of row locks
        stored = [
            msgspec.json.encode(lease.positions).decode() if positions and self.certain else None
            for lease in leases
        ]
        sql = f"""
            UPDATE "{self.tables.partition._meta.db_table}" p
            SET expires_at = messaging_now() + make_interval(secs => %b::float8),
                positions = coalesce(u.positions::jsonb, p.positions)
            FROM unnest(%b::int[], %b::bigint[], %b::text[]) AS u(number, token, positions)
            WHERE p.number = u.number AND p.token = u.token AND p.owner = %b::text
              AND p.expires_at > messaging_now()
            RETURNING p.number, p.positions"""
        numbers, tokens = [lease.number for lease in leases], [lease.token for lease in leases]
        return sql, (LEASE_SECONDS, numbers, tokens, stored, self.worker)

    def _give_back(self, conn: Connection, numbers: list[int]) -> None:
        if not numbers:
            return
        conn.execute(
            f"""UPDATE "{self.tables.partition._meta.db_table}" SET owner = NULL, expires_at = NULL
                WHERE number = ANY(%b::int[]) AND owner = %b::text""",
            (numbers, self.worker),
        )
        for number in numbers:
            del self.held[number]

    def _disarm(self, conn: Connection) -> None:
        """End the connections of workers whose leases have run out.

        The fence keeps them from writing anyway. But one that stands still in the middle of a
        batch keeps its row locks, and the server waits for the rest of its pipeline for ever.
        """
        conn.execute(
            f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name IN (
                    SELECT owner FROM "{self.tables.partition._meta.db_table}"
                    WHERE owner <> %b::text AND expires_at <= messaging_now())""",
            (self.worker,),
        )

    def _take(self, conn: Connection, most: int) -> None:
        table = self.tables.partition._meta.db_table
        rows = conn.execute(
            f"""UPDATE "{table}" SET token = token + 1, owner = %b::text,
                    takeovers = takeovers + (owner IS NOT NULL)::int,
                    expires_at = messaging_now() + make_interval(secs => %b::float8)
                WHERE number IN (
                    SELECT number FROM "{table}"
                    WHERE owner IS NULL OR expires_at <= messaging_now()
                    ORDER BY number LIMIT %b::int FOR UPDATE SKIP LOCKED)
                RETURNING number, token, positions::text, takeovers""",
            (self.worker, LEASE_SECONDS, most),
        ).fetchall()
        if rows:
            self.level.clear()
        for number, token, positions, takeovers in rows:
            self.held[number] = Lease(number, token, msgspec.json.decode(positions), takeovers)


def forget_silent(tables: ServiceTables) -> Statement:
    """The statement that deletes workers which have left, or were lost, some time ago."""
    sql = f"""DELETE FROM "{tables.worker._meta.db_table}"
        WHERE heartbeat_at < messaging_now() - make_interval(secs => %b::float8)"""
    return sql, (FORGET_WORKER_SECONDS,)


def hold_all(conn: Connection, services: Sequence[Leases]) -> None:
    """Beat and renew for several services in one statement; then each takes its fair share.

    Handlers that this code lacks are asked for after that: a name that is stored later takes away
    what was taken.
    """
    if current := [each for each in services if not each.lacking]:
        _hold(conn, current)
    found = lacking(conn, [(each.tables, each.known) for each in services])
    for each, names in zip(services, found, strict=True):
        if names and not each.lacking:
            each.release(conn)
            logger.warning(
                "%s delivers nothing of %s any more, its code lacks %s",
                each.worker, each.tables.partition._meta.app_label, ", ".join(names),
            )  # fmt: skip
        each.lacking = names


def _hold(conn: Connection, services: Sequence[Leases]) -> None:
    steps, answers, values = [], [], []
    counted: list[Any] = []
    for each in services:
        service = each.tables.partition._meta.app_label
        workers = each.tables.worker._meta.db_table
        renew, renewed = each.renewal()
        steps.append(f"""renewed_{service} AS ({renew}), beat_{service} AS (
            INSERT INTO "{workers}" AS w (name, kind, heartbeat_at, signed_off, started_at)
            VALUES (%b::text, %b::text, messaging_now(), false, messaging_now())
            ON CONFLICT (name) DO UPDATE SET heartbeat_at = messaging_now(), signed_off = false)""")
        values += [*renewed, each.worker, each.kind]
        answers.append(f"""
            (SELECT json_object_agg(number, positions)::text FROM renewed_{service}),
            (SELECT count(*) FROM "{each.tables.partition._meta.db_table}"),
            (SELECT count(*) FROM "{workers}" WHERE name <> %b::text AND NOT signed_off
                AND heartbeat_at > messaging_now() - make_interval(secs => %b::float8))""")
        counted += [each.worker, LEASE_SECONDS]
    row = conn.execute(
        f"WITH {', '.join(steps)} SELECT {', '.join(answers)}", (*values, *counted)
    ).fetchone()
    answered = iter(row or ())
    for each in services:
        each.share(conn, next(answered), next(answered), next(answered))
