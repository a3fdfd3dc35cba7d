"""What each service has to do, by tenant: so that one shop's rush is told from everybody's.

Unlike `gauges` it knows every tenant with work, keeps what it read, and goes without a database that
does not answer: whoever scrapes gets the rest.

One statement for a service, whose cost is bounded however long the logs are: it looks at the first
STRETCH messages that wait in each source, and scales up from these when there are more; at the newest
ATTEMPTS deliveries; and at no more than MOST rows of each queue. What was read is kept for some
seconds, whoever asks.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from .ages import STATEMENT_TIMEOUT, crossings, oldest_call, oldest_timer, oldest_unrelayed
from .canary import NAME
from .database import connection
from .leases import LEASE_SECONDS
from .schedules import NO_SHOP
from .services import ServiceConfig, services
from .subscriptions import readable, subscribed_names
from .tenancy import EVERY, acting_for

STRETCH, ATTEMPTS, MOST = 2000, 2000, 10_000
RECENT_SECONDS = 60.0
KEPT_SECONDS = 5.0
OTHERS = "(other)"
"""Stands for all tenants who are not among those named; no tenant can be called so."""


@dataclass
class Backlog:
    """A service's work. Ages in seconds.

    `lengths` is by queue and tenant; the queues are `waiting` messages, `parked` deliveries, `dead`
    letters that nobody has decided about, `calls due` and `calls under way`. `oldest` is the age of the
    first waiting message by tenant, `attempts` are deliveries a second by outcome.
    """

    service: str
    lengths: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    oldest: dict[str, float] = field(default_factory=dict)
    attempts: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    """`workers` alive, `leases` held, `partitions`, and `canary`: seconds since its last answer. For
    how long the first `call` and the first `timer` have been due that nobody takes."""
    unrelayed: dict[str, float] = field(default_factory=dict)
    """For how long its first message waits in the log of each source in another database."""


def backlogs() -> list[Backlog]:
    """All services' work, as it was up to KEPT_SECONDS ago; without those whose database does not
    answer."""
    with _memory.lock:
        if time.monotonic() >= _memory.until:
            _memory.found = list(_read_all())
            _ask_relays({backlog.service: backlog for backlog in _memory.found})
            _memory.until = time.monotonic() + KEPT_SECONDS
        return _memory.found


def forget() -> None:
    """Read anew at the next question."""
    _memory.until = 0.0


def busiest(found: Sequence[Backlog], most: int) -> set[str]:
    """The tenants with the most work in all services together."""
    total: Counter[str] = Counter()
    for backlog in found:
        for (_, tenant), length in backlog.lengths.items():
            total[tenant] += length  # type: ignore[assignment]
    return {tenant for tenant, _ in total.most_common(most)}


def folded(backlog: Backlog, named: set[str]) -> Backlog:
    """The same work, with what belongs to any other tenant under OTHERS."""
    less = Backlog(backlog.service, attempts=backlog.attempts, facts=backlog.facts)
    less.unrelayed = backlog.unrelayed
    for (queue, tenant), length in backlog.lengths.items():
        less.lengths[queue, tenant if tenant in named else OTHERS] += length
    for tenant, age in backlog.oldest.items():
        shown = tenant if tenant in named else OTHERS
        less.oldest[shown] = max(age, less.oldest.get(shown, 0.0))
    return less


@dataclass
class _Memory:
    until: float = 0.0
    found: list[Backlog] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


_memory = _Memory()


def _read_all() -> Any:
    for config in services():
        try:
            yield _read(config)
        except (psycopg.Error, PoolTimeout):
            continue


@acting_for(EVERY)
def _ask_relays(read: dict[str, Backlog]) -> None:
    for source, target in crossings():
        if {source.label, target.label} <= read.keys():
            with suppress(psycopg.Error, PoolTimeout):
                age = oldest_unrelayed(source, target)
                read[target.label].unrelayed[source.label] = age


def _read(config: ServiceConfig) -> Backlog:
    sql, values = _statement(config)
    with acting_for(EVERY), connection(config.database) as conn, conn.transaction():
        conn.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        rows = conn.execute(sql, values).fetchall()
    backlog = Backlog(config.label)
    for kind, name, number, seconds in rows:
        if kind == "fact":
            if number is not None:
                backlog.facts[name] = number
        elif kind == "outcome":
            span = RECENT_SECONDS if seconds is None else max(seconds, 1.0)
            backlog.attempts[name] = number / span
        else:
            backlog.lengths[kind, name] += number
            if kind == "waiting":
                backlog.oldest[name] = max(seconds, backlog.oldest.get(name, 0.0))
    return backlog


def _statement(config: ServiceConfig) -> tuple[str, dict[str, Any]]:
    """Its rows are a kind, what of it, how many, and an age."""
    tables = config.tables
    values: dict[str, Any] = {"no_shop": NO_SHOP, "canary": NAME}
    parts = [
        _facts(config),
        _outcomes(tables.delivery._meta.db_table),
        _queue("parked", tables.parked._meta.db_table, "true"),
        _queue("dead", tables.dead._meta.db_table, "state = 'waiting'"),
        _queue("calls under way", tables.effect._meta.db_table, _UNDER_WAY),
        _queue("calls due", tables.effect._meta.db_table, f"NOT ({_UNDER_WAY})"),
    ]
    for source, log in readable(config).items():
        values[source] = subscribed_names(config.label, source)
        if values[source]:
            parts.append(_waiting(source, log, tables.partition._meta.db_table))
    return " UNION ALL ".join(f"({part})" for part in parts), values


_UNDER_WAY = "token IS NOT NULL AND due_at > (SELECT messaging_now())"
"""A claim lapses when the call is due again."""


def _facts(config: ServiceConfig) -> str:
    tables = config.tables
    return f"""
        SELECT 'fact', fact, number::float8, NULL::float8 FROM (VALUES
            ('workers', (SELECT count(*) FROM "{tables.worker._meta.db_table}" WHERE NOT signed_off
                AND heartbeat_at > messaging_now() - make_interval(secs => {LEASE_SECONDS}))),
            ('leases', (SELECT count(*) FROM "{tables.partition._meta.db_table}"
                WHERE owner IS NOT NULL AND expires_at > messaging_now())),
            ('partitions', (SELECT count(*) FROM "{tables.partition._meta.db_table}")),
            ('canary', (SELECT extract(epoch FROM messaging_now() - coalesce(answered_at, asked_at))
                FROM "{tables.canary._meta.db_table}"
                WHERE tenant = %(no_shop)b::text AND name = %(canary)b::text)),
            ('call', coalesce({oldest_call(config)}, 0)),
            ('timer', coalesce({oldest_timer(config)}, 0))
        ) AS facts(fact, number)"""


def _outcomes(delivery: str) -> str:
    """The age is that of the oldest which was looked at, if there are more."""
    return f"""
        WITH newest AS MATERIALIZED (
            SELECT outcome, extract(epoch FROM messaging_now() - delivered_at) AS age FROM "{delivery}"
            WHERE {among_newest(delivery, ATTEMPTS)}
              AND delivered_at > messaging_now() - make_interval(secs => {RECENT_SECONDS}))
        SELECT 'outcome', outcome, count(*)::float8,
               (SELECT max(age)::float8 FROM newest HAVING count(*) >= {ATTEMPTS})
        FROM newest GROUP BY outcome"""


def _queue(kind: str, table: str, where: str) -> str:
    return f"""
        SELECT '{kind}', tenant, count(*)::float8, NULL::float8
        FROM (SELECT tenant FROM "{table}" WHERE {where} LIMIT {MOST}) AS first GROUP BY tenant"""


def _waiting(source: str, log: str, partition: str) -> str:
    return f"""
        WITH stretch AS MATERIALIZED ({stretch(source, source, log, partition, STRETCH)}), scale AS (
            SELECT CASE WHEN count(*) < {STRETCH} THEN 1
                   ELSE 1 + greatest((SELECT last_value FROM "{log}_position_seq") - max(position), 0)::float8
                            / count(*) END AS factor
            FROM stretch)
        SELECT 'waiting', tenant, count(*) * (SELECT factor FROM scale),
               extract(epoch FROM messaging_now() - min(recorded_at))::float8
        FROM stretch WHERE waits GROUP BY tenant"""


def stretch(names: str, source: str, log: str, partition: str, most: int) -> str:
    """The SELECT of the first messages behind the slowest partition of a reader of this source, and
    whether each waits for it. `names` is the parameter with the messages that it wants."""
    place = f"coalesce((positions ->> '{source}')::bigint, 0)"
    return f"""
        SELECT position, tenant, recorded_at, name = ANY(%({names})b::text[]) AND position >
            (SELECT array_agg({place} ORDER BY number) FROM "{partition}")[partition + 1] AS waits
        FROM "{log}" WHERE position > (SELECT min({place}) FROM "{partition}")
        ORDER BY position LIMIT {most}"""


def among_newest(delivery: str, most: int) -> str:
    """The condition for a delivery log's last entries."""
    return f"""id > (SELECT pg_sequence_last_value(
        pg_get_serial_sequence('"{delivery}"', 'id')::regclass)) - {most}"""
