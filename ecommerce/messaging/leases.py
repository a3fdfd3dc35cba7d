"""Which worker holds which partitions of a service.

A partition's row is its lease, its fencing token and its position in each source. A worker renews
its leases by the database's clock; one that falls silent loses them, and whoever takes over gets a
new token. The statement that completes a batch checks token and expiry in the batch's own
transaction (`complete`), so a worker that lost its lease changes nothing, however late it wakes.

Workers share partitions evenly. One that holds more than its share gives the surplus back, one
that holds less takes what is free: joining or leaving moves no partition twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from .database import Connection
from .log import NOWHERE
from .rows import Statement
from .tables import ServiceTables

LEASE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
FORGET_WORKER_SECONDS = 60.0


@dataclass
class Lease:
    """One partition that this worker holds."""

    number: int
    token: int
    positions: dict[str, int]
    takeovers: int


@dataclass
class Leases:
    """The partitions of one service that this worker holds."""

    tables: ServiceTables
    worker: str
    held: dict[int, Lease] = field(default_factory=dict)

    def hold(self, conn: Connection) -> None:
        """Beat, renew what is held, and take or give back partitions up to a fair share."""
        workers = self.tables.worker._meta.db_table
        partitions = self.tables.partition._meta.db_table
        renew, renewed = renewal(self.tables, self.worker, self.held.values())
        row = conn.execute(
            f"""WITH renewed AS ({renew}), beat AS (
                    INSERT INTO "{workers}" AS w (name, heartbeat_at, signed_off)
                    VALUES (%b::text, messaging_now(), false)
                    ON CONFLICT (name) DO UPDATE
                    SET heartbeat_at = messaging_now(), signed_off = false)
                SELECT ARRAY(SELECT number FROM renewed), (SELECT count(*) FROM "{partitions}"),
                    (SELECT count(*) FROM "{workers}" WHERE name <> %b::text AND NOT signed_off
                        AND heartbeat_at > messaging_now() - make_interval(secs => %b::float8))""",
            (*renewed, self.worker, self.worker, LEASE_SECONDS),
        ).fetchone()
        kept, total, others = row or ([], 0, 0)
        self.held = {number: self.held[number] for number in sorted(kept)}
        share = math.ceil(total / (others + 1))
        self._give_back(conn, sorted(self.held)[share:])
        if len(self.held) < share:
            self._disarm(conn)
            self._take(conn, share - len(self.held))

    def release(self, conn: Connection) -> None:
        """Give everything back and sign off: the next worker need not wait for the expiry."""
        workers = self.tables.worker._meta.db_table
        with conn.transaction():
            self._give_back(conn, sorted(self.held))
            conn.execute(
                f'UPDATE "{workers}" SET signed_off = true WHERE name = %b', (self.worker,)
            )
            conn.execute(
                f'DELETE FROM "{workers}" '
                f"WHERE heartbeat_at < messaging_now() - make_interval(secs => %b::float8)",
                (FORGET_WORKER_SECONDS,),
            )

    def after(self, source: str, partitions: int) -> list[int]:
        """The position in a source of each partition by number; NOWHERE for those not held."""
        positions = [NOWHERE] * partitions
        for lease in self.held.values():
            positions[lease.number] = lease.positions.get(source, 0)
        return positions

    def behind(self, source: str, horizon: int) -> bool:
        """Whether any held partition has not been read up to the horizon."""
        return any(lease.positions.get(source, 0) < horizon for lease in self.held.values())

    def advance(self, positions: Mapping[str, int]) -> None:
        """Move all held partitions forward, in memory."""
        for lease in self.held.values():
            for source, position in positions.items():
                lease.positions[source] = max(lease.positions.get(source, 0), position)

    def complete(self, positions: Mapping[str, int]) -> list[Statement]:
        """The statements that store positions if every lease is still ours, and fail if not.

        The transaction then fails with the error that `fenced` recognises.
        """
        held = [self.held[number] for number in sorted(self.held)]
        stored = [
            msgspec.json.encode(
                lease.positions
                | {s: max(lease.positions.get(s, 0), p) for s, p in positions.items()}
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
        numbers, tokens = [lease.number for lease in held], [lease.token for lease in held]
        return [(sql, (numbers, tokens, stored, self.worker, len(held)))]

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
        for number, token, positions, takeovers in rows:
            self.held[number] = Lease(number, token, msgspec.json.decode(positions), takeovers)


def renewal(tables: ServiceTables, worker: str, leases: Iterable[Lease]) -> Statement:
    """The statement that renews leases that have not expired; it returns their numbers."""
    leases = sorted(leases, key=lambda lease: lease.number)  # the order in which rows are locked
    sql = f"""
        UPDATE "{tables.partition._meta.db_table}" p
        SET expires_at = messaging_now() + make_interval(secs => %b::float8)
        FROM unnest(%b::int[], %b::bigint[]) AS u(number, token)
        WHERE p.number = u.number AND p.token = u.token AND p.owner = %b::text
          AND p.expires_at > messaging_now()
        RETURNING p.number"""
    numbers, tokens = [lease.number for lease in leases], [lease.token for lease in leases]
    return sql, (LEASE_SECONDS, numbers, tokens, worker)
