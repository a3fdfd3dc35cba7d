"""What goes through each service right now: rates, backlog, calls, workers, what is stuck.

One statement for a database. Its cost is bounded, however long the logs and however busy the shop:
it looks at the newest entries of each log and delivery log, and at a stretch of what waits. Where
there are more, figures are scaled up from these.

Unlike `backlogs` it tells rates by message and handler, and latencies: for what is sampled each second.
Machinery is shared by all shops, so rates and backlog are everybody's. What is stuck is counted for
the tenants that are asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import msgspec
from django.conf import settings

from .asking import ask_all
from .backlogs import among_newest, stretch
from .claims import CLAIM_SECONDS
from .leases import LEASE_SECONDS
from .messages import contract_named
from .registry import handlers, handlers_of
from .schedules import NO_SHOP
from .senders import made_by
from .services import ServiceConfig, services
from .subscriptions import readable, subscribed_names
from .tenancy import EVERY, acting_for

NEWEST_SENT, NEWEST_TAKEN, STRETCH, MOST = 1000, 2000, 1000, 1000
"""How many entries of a log, of a delivery log and of what waits are looked at, and how far things
that are stuck are counted."""
RATE_SECONDS, LATENCY_SECONDS = 10.0, 60.0
STEPS = 16
"""Buckets of the latencies' histogram in a factor of e: its figures are exact to 6 %."""
BY_WORKER = ":[0-9]+:[0-9a-f]{8}$"
"""How a worker's name ends; deliveries of people's commands have the person there."""


class Waiting(msgspec.Struct):
    """Of one source: what waits in the stretch that was looked at, and how much lies behind it."""

    found: int
    seen: int
    beyond: int
    oldest: float | None


class Measured(msgspec.Struct):
    """What the statement finds in one service. Ages in seconds."""

    sent: dict[str, int]
    sent_rows: int
    sent_since: float
    taken: dict[str, int]
    asked: dict[str, int]
    taken_rows: int
    taken_since: float
    took: dict[int, int]
    failed: int
    waiting: list[Waiting]
    calls: int
    calls_due: int
    workers: list[str]
    held: int
    partitions: int
    canary_age: float | None
    canary_us: int | None
    parked: dict[str, int]
    dead: dict[str, int]


@dataclass(frozen=True)
class Gauge:
    """One service. Rates are a second; `taken` is by handler, `asked` the part that people asked
    for, `sent` by message; `took` is a histogram, see `percentile`."""

    service: str
    sent: Mapping[str, float]
    taken: Mapping[str, float]
    asked: Mapping[str, float]
    took: Mapping[int, int]
    failed: int
    waiting: int
    oldest: float
    calls: int
    calls_due: int
    workers: frozenset[str]
    held: int
    partitions: int
    canary_age: float | None
    canary_took: float | None
    parked: Mapping[str, int]
    dead: Mapping[str, int]


def gauges(tenants: Sequence[str]) -> list[Gauge]:
    """Read all services, in the order of their installation."""
    values: dict[str, Any] = {"tenants": list(tenants), "no_shop": NO_SHOP}
    with acting_for(EVERY):
        found = dict(ask_all(partial(_statement, values=values), values))
    return [
        _gauge(config.label, msgspec.json.decode(found[config.label], type=Measured))
        for config in services()
    ]


def percentile(histograms: Sequence[Mapping[int, int]], share: float) -> float | None:
    """The time in milliseconds within which this share of all deliveries was over."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            total[bucket] = total.get(bucket, 0) + count
    passed, wanted = 0, share * sum(total.values())
    for bucket in sorted(total):
        passed += total[bucket]
        if passed >= wanted:
            return float(2.718281828 ** (bucket / STEPS)) / 1000
    return None


def _gauge(label: str, found: Measured) -> Gauge:
    sent = _span(found.sent_rows, NEWEST_SENT, found.sent_since)
    taken = _span(found.taken_rows, NEWEST_TAKEN, found.taken_since)
    ages = [each.oldest for each in found.waiting if each.oldest is not None]
    return Gauge(
        service=label,
        sent={name: count / sent for name, count in found.sent.items()},
        taken={name: count / taken for name, count in found.taken.items()},
        asked={name: count / taken for name, count in found.asked.items()},
        took=found.took,
        failed=found.failed,
        waiting=sum(_scaled(each) for each in found.waiting),
        oldest=max(0.0, *ages, 0.0),
        calls=found.calls,
        calls_due=found.calls_due,
        workers=frozenset(found.workers),
        held=found.held,
        partitions=found.partitions,
        canary_age=found.canary_age,
        canary_took=None if found.canary_us is None else found.canary_us / 1e6,
        parked=found.parked,
        dead=found.dead,
    )


def _span(rows: int, most: int, since: float) -> float:
    """Seconds that the entries which were looked at stand for."""
    return RATE_SECONDS if rows < most else min(max(since, 0.05), RATE_SECONDS)


def _scaled(each: Waiting) -> int:
    if each.seen < STRETCH:
        return each.found
    return each.found + round(each.beyond * each.found / each.seen)


def _statement(config: ServiceConfig, values: dict[str, Any]) -> str:
    label, tables = config.label, config.tables
    log, delivery = tables.log._meta.db_table, tables.delivery._meta.db_table
    partition, effect = tables.partition._meta.db_table, tables.effect._meta.db_table
    sources = {source: table for source, table in readable(config).items()
               if subscribed_names(label, source)}  # fmt: skip
    values |= {f"{label}_{source}": subscribed_names(label, source) for source in sources}
    values[f"{label}_answering"] = _answering(label)
    waiting = ", ".join(_waiting(label, source, table, partition)
                        for source, table in sources.items())  # fmt: skip
    return f"""
        WITH sent AS MATERIALIZED (
            SELECT name, tenant, extract(epoch FROM messaging_now() - recorded_at) AS age
            FROM "{log}" WHERE position > (SELECT last_value - {NEWEST_SENT} FROM "{log}_position_seq")
        ), taken AS MATERIALIZED (
            SELECT handler, outcome, worker ~ '{BY_WORKER}' AS by_worker,
                   extract(epoch FROM messaging_now() - delivered_at) AS age,
                   greatest(waited_us + ran_us, 1) AS us
            FROM "{delivery}"
            WHERE {among_newest(delivery, NEWEST_TAKEN)}
              AND delivered_at > messaging_now() - make_interval(secs => {LATENCY_SECONDS})
              AND handler <> '{label}.answer_ping'
        )
        SELECT '{label}', json_build_object(
            'sent', {_counts("sent", "name", f"age < {RATE_SECONDS} AND tenant <> %(no_shop)b::text")},
            'sent_rows', (SELECT count(*) FROM sent),
            'sent_since', (SELECT coalesce(max(age), 0) FROM sent),
            'taken', {_counts("taken", "handler", f"age < {RATE_SECONDS}")},
            'asked', {_counts("taken", "handler", f"age < {RATE_SECONDS} AND NOT by_worker")},
            'taken_rows', (SELECT count(*) FROM taken),
            'taken_since', (SELECT coalesce(max(age), 0) FROM taken),
            'took', {_counts("taken", f"round(ln(us) * {STEPS})::int", f"by_worker AND NOT handler = ANY(%({label}_answering)b::text[])")},
            'failed', (SELECT count(*) FROM taken WHERE outcome = 'failed'),
            'waiting', json_build_array({waiting}),
            'calls', {_calls(effect, "token IS NOT NULL AND due_at >")},
            'calls_due', {_calls(effect, "due_at <=")},
            'workers', (SELECT coalesce(json_agg(name), '[]') FROM "{tables.worker._meta.db_table}"
                WHERE NOT signed_off
                  AND heartbeat_at > messaging_now() - make_interval(secs => {LEASE_SECONDS})),
            'held', (SELECT count(*) FROM "{partition}"
                WHERE owner IS NOT NULL AND expires_at > messaging_now()),
            'partitions', (SELECT count(*) FROM "{partition}"),
            'canary_age', (SELECT extract(epoch FROM messaging_now() - max(coalesce(answered_at, asked_at)))
                FROM "{tables.canary._meta.db_table}" WHERE tenant = %(no_shop)b::text),
            'canary_us', (SELECT max(took_us) FROM "{tables.canary._meta.db_table}"
                WHERE tenant = %(no_shop)b::text),
            'parked', {_stuck(tables.parked._meta.db_table, "true")},
            'dead', {_stuck(tables.dead._meta.db_table, "state = 'waiting'")}
        )::text"""


def _counts(source: str, by: str, where: str) -> str:
    return f"""(SELECT coalesce(json_object_agg(key, count), '{{}}') FROM (
        SELECT {by} AS key, count(*) FROM {source} WHERE {where} GROUP BY 1) AS counted)"""


@cache
def _answering(service: str) -> list[str]:
    """Who takes the answers of calls. That happens in the commit that ends the call, and counts as
    waiting since the call was wanted: perhaps for a day, which says nothing about the machinery."""
    made = {
        name
        for handler in handlers(service)
        if handler.kind == "performs"
        for name in made_by(handler.function)
    }
    return sorted(
        taker.name for name in made for taker in handlers_of(contract_named(name).type, service)
    )


def _waiting(label: str, source: str, log: str, partition: str) -> str:
    return f"""(
        SELECT json_build_object(
            'found', count(*) FILTER (WHERE waits), 'seen', count(*),
            'beyond', (SELECT last_value FROM "{log}_position_seq") - coalesce(max(position), 0),
            'oldest', extract(epoch FROM messaging_now() - min(recorded_at) FILTER (WHERE waits)))
        FROM ({stretch(f"{label}_{source}", source, log, partition, STRETCH)}) AS stretch)"""


def _calls(effect: str, where: str) -> str:
    """Claims lapse by the column that says when a call is due, so an index has those under way."""
    return f"""(SELECT sum(counted.n) FROM (SELECT number FROM generate_series(0, {settings.MESSAGING_PARTITIONS - 1}) AS s(number)) AS own,
        LATERAL (SELECT count(*) AS n FROM (
            SELECT FROM "{effect}" WHERE partition = own.number AND {where} (SELECT messaging_now())
            AND due_at < (SELECT messaging_now()) + interval '{CLAIM_SECONDS} s' LIMIT 100) AS few) AS counted)"""


def _stuck(table: str, where: str) -> str:
    return f"""(SELECT coalesce(json_object_agg(asked.tenant, counted.n), '{{}}')
        FROM unnest(%(tenants)b::text[]) AS asked(tenant), LATERAL (SELECT count(*) AS n FROM (
            SELECT FROM "{table}" WHERE tenant = asked.tenant AND {where} LIMIT {MOST}) AS few) AS counted)"""
