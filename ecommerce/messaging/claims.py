"""Intents of effects, and the claims of workers on them.

A claim is a token in the intent's row that lapses by the database's clock. Whoever ends the intent
or puts it off must still have it: the statement fails the transaction otherwise. A worker claims
what its own deliveries ask for as they write it, if it can make the calls soon, and else by a look
at what is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from . import parking
from .arrays import array
from .burial import DESK
from .database import Connection
from .delivery import Delivery, Intent
from .errors import ContractError
from .log import ENVELOPE, Stored
from .messages import Message
from .models import uuid7
from .registry import handler_named
from .rows import Statement
from .tables import ServiceTables

CLAIM_SECONDS = 12.0
"""How long a claim lasts; a provider's own time-out must be well below it."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)
TOGETHER = 1
"""How many workers may vanish during a call that is claimed along with others like it."""
PROMPT, LATE = timedelta(seconds=0.5), timedelta(seconds=3)
"""How long after it was due an intent appears to others, mostly and when a commit takes long."""


@dataclass
class Since:
    """From when on intents of each partition may be due, as far as this worker has seen.

    What was deleted lies in the index while somebody reads an old snapshot. A look that began with
    the oldest would wade through all of it.
    """

    by_partition: list[datetime] = field(
        default_factory=lambda: [EVER] * settings.MESSAGING_PARTITIONS
    )

    def nothing(self, now: datetime) -> None:
        """Nothing was due, in any partition."""
        self.by_partition = [now] * len(self.by_partition)

    def seen(self, found: Found, partitions: Sequence[int], *, whole: bool) -> None:
        """These were due; of the other partitions nothing was, if the look was at the `whole`."""
        if found.now is None:
            return
        oldest = dict.fromkeys(partitions, found.now) if whole else {}
        for partition, due_at in found.due:
            oldest[partition] = min(due_at, oldest.get(partition, due_at))
        for partition, due_at in oldest.items():
            self.by_partition[partition] = due_at


@dataclass
class Claim:
    """One intent that this worker may carry out until the claim lapses."""

    id: Any
    token: Any
    attempts: int
    lost: int
    delivery: Delivery
    results: Any = None
    at_once: bool = True
    """Whether its answers are carried out in the commit that ends it, or go through the log."""

    @property
    def alone(self) -> bool:
        """Whether no other such call may be under way in its worker."""
        return self.lost > TOGETHER

    @property
    def wait(self) -> float:
        """Seconds until the next attempt."""
        return float(self.delivery.retry_after[self.delivery.attempt - 1])


@dataclass
class Found:
    """What a look came by: the partition and due time of each intent, and those it claimed."""

    now: datetime | None
    due: list[tuple[int, datetime]]
    claims: list[Claim]


def take(
    conn: Connection,
    tables: ServiceTables,
    most: int,
    partitions: Collection[int],
    since: Since,
    late: timedelta,
    *,
    alone: bool,
) -> list[Claim]:
    """Claim intents that are due, some of each partition, so that a busy one does not stand before
    the others; those that wait longest come first. None is missed that appears at most so `late`.
    Unless one may be claimed that must be `alone`, such are left."""
    due = f"""SELECT found.*
        FROM unnest(%b::int[], %b::timestamptz[]) AS own(number, since), LATERAL (
            SELECT id, partition, due_at, claims - attempts AS lost
            FROM "{tables.effect._meta.db_table}"
            WHERE partition = own.number
              AND due_at > own.since AND due_at <= (SELECT messaging_now())
            ORDER BY due_at LIMIT %b::int FOR UPDATE SKIP LOCKED) AS found
        LIMIT %b::int"""
    by_age = sorted(partitions, key=since.by_partition.__getitem__)
    ages = array("timestamptz[]", [since.by_partition[number] - late for number in by_age])
    own = array("int[]", by_age)
    found = _claim(conn, tables, due, (own, ages, part(most), most), alone=alone)
    since.seen(found, by_age, whole=len(found.due) < most)
    return found.claims


def claim_at_birth(intents: Sequence[Intent], most: int, now: datetime) -> list[Claim]:
    """Claim intents before they are written, for the worker that writes them: at most so many, and no
    more than half of that in one partition."""
    claims: list[Claim] = []
    partitions: Counter[int] = Counter()
    for intent in intents:
        partition, due_at = intent.item.partition, intent.due_at
        if due_at > now or 2 * partitions[partition] >= most:
            continue
        if len(claims) == most:
            break
        partitions[partition] += 1
        intent.token = uuid7()
        intent.due_at = now + timedelta(seconds=CLAIM_SECONDS)
        stored = Stored(*(0, *intent.envelope, intent.item.cause.now))
        delivery = Delivery(stored, intent.item.message, intent.handler, due_at=due_at)
        claims.append(Claim(intent.item.message_id, intent.token, 0, 0, delivery))
    return claims


def part(most: int) -> int:
    """How many of so many intents may be of the same partition."""
    return max(most // 8, 4)


def take_admitted(
    conn: Connection, tables: ServiceTables, admitted: list[Any], *, alone: bool
) -> list[Claim]:
    """Claim these intents, as far as they are due and nobody else claims them."""
    due = f"""SELECT id, partition, due_at, claims - attempts AS lost
        FROM "{tables.effect._meta.db_table}"
        WHERE id = ANY(%b::uuid[]) AND due_at <= messaging_now()
        ORDER BY due_at FOR UPDATE SKIP LOCKED"""
    return _claim(conn, tables, due, (admitted,), alone=alone).claims


def waiting(conn: Connection, services: Sequence[tuple[ServiceTables, Since]]) -> list[bool]:
    """Whether each service has an intent that is due, in one statement."""
    questions = ", ".join(
        f"""EXISTS (SELECT FROM unnest(%b::timestamptz[]) WITH ORDINALITY AS own(since, place),
                LATERAL (SELECT FROM "{tables.effect._meta.db_table}"
                    WHERE partition = own.place - 1
                      AND due_at > own.since AND due_at <= (SELECT messaging_now())
                    LIMIT 1) AS due)"""
        for tables, _ in services
    )
    asked = [
        array("timestamptz[]", [each - LATE for each in since.by_partition])
        for _, since in services
    ]
    now, *found = conn.execute(f"SELECT messaging_now(), {questions}", asked).fetchone() or ()
    for (_, since), is_due in zip(services, found, strict=True):
        if not is_due:
            since.nothing(now)
    return found


def ends(tables: ServiceTables, claims: Sequence[Claim]) -> Iterator[Statement]:
    """The statements that end intents or put them off, and fail if a claim is not ours any more."""
    effects = tables.effect._meta.db_table
    again = [c for c in claims if c.delivery.error and not c.delivery.given_up]
    ended = [c for c in claims if not c.delivery.error or c.delivery.given_up]
    ours = "e.id = u.id AND e.token = u.token AND e.due_at > (SELECT messaging_now())"
    held = "SELECT messaging_require(count(*) = %b::int, 'claim lost') FROM done"
    if ended:
        sql = f"""WITH done AS (
                DELETE FROM "{effects}" e USING unnest(%b::uuid[], %b::uuid[]) AS u(id, token)
                WHERE {ours} RETURNING 1) {held}"""
        yield sql, ([c.id for c in ended], [c.token for c in ended], len(ended))
    if again:
        sql = f"""WITH done AS (
                UPDATE "{effects}" e SET attempts = u.attempts, claims = u.claims, token = NULL,
                    error = u.error, due_at = messaging_now() + make_interval(secs => u.wait)
                FROM unnest(%b::uuid[], %b::uuid[], %b::int[], %b::int[], %b::text[], %b::float8[])
                    AS u(id, token, attempts, claims, error, wait)
                WHERE {ours} RETURNING 1) {held}"""
        yield (
            sql,
            (
                [c.id for c in again],
                [c.token for c in again],
                [c.delivery.attempt for c in again],
                [c.delivery.attempt + c.lost for c in again],
                [c.delivery.error for c in again],
                [c.wait for c in again],
                len(again),
            ),
        )


def _claim(
    conn: Connection, tables: ServiceTables, due: str, values: Sequence[Any], *, alone: bool
) -> Found:
    columns = ("id", "token", "attempts", "handler", *ENVELOPE, "recorded_at", "redriven")
    claimed, left = (
        ", ".join(each) for each in ([f"e.{c}" for c in columns], ["NULL"] * len(columns))
    )
    rows = conn.execute(
        f"""WITH clock AS (SELECT messaging_now() AS now), due AS ({due}),
            mine AS (
                SELECT * FROM due WHERE lost <= {TOGETHER}
                UNION ALL (SELECT * FROM due WHERE lost > {TOGETHER}
                           ORDER BY due_at LIMIT %b::int)),
            claimed AS (
                UPDATE "{tables.effect._meta.db_table}" e
                SET token = gen_random_uuid(), claims = claims + 1,
                    due_at = (SELECT now FROM clock) + make_interval(secs => %b::float8)
                FROM mine WHERE e.id = mine.id
                RETURNING mine.partition, mine.due_at, mine.lost, {claimed})
            SELECT (SELECT now FROM clock), claimed.* FROM claimed
            UNION ALL
            SELECT (SELECT now FROM clock), partition, due_at, lost, {left}
            FROM due WHERE lost > {TOGETHER} AND id NOT IN (SELECT id FROM mine)""",
        (*values, int(alone), CLAIM_SECONDS),
    ).fetchall()
    return Found(
        rows[0][0] if rows else None,
        [(partition, due_at) for _, partition, due_at, *_ in rows],
        [_claimed(*row[2:]) for row in rows if row[4]],
    )


def _claimed(
    due_at: datetime, lost: int, effect: Any, token: Any, attempts: int, name: str, *rest: Any
) -> Claim:
    *envelope, recorded_at, redriven = rest
    stored = Stored(*(0, *envelope, recorded_at, DESK if redriven else ""))
    delivery = Delivery(stored, Message(), handler_named(name), attempts + 1, due_at=due_at)
    try:
        delivery.message = stored.message()
    except ContractError as error:
        delivery.attempt, delivery.error = parking.GIVE_UP, f"unreadable: {error}"
        delivery.reason = "unreadable"
    return Claim(effect, token, attempts, lost, delivery)
