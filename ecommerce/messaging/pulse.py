"""Whether a service's work gets done: who works, whether the canary answers, how long things wait.

Unlike `gauges` and `backlogs` it is about one service, never kept or scaled, asked on the connections
that requests use, and raises when there is no answer: it decides who gets requests.

One statement for a service, which costs the same however long the logs are: it begins where the
slowest partition stands and looks at a bounded stretch from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections, transaction

from .ages import STATEMENT_TIMEOUT, STRETCH, oldest_call, oldest_timer
from .canary import NAME
from .schedules import NO_SHOP
from .services import ServiceConfig
from .subscriptions import readable, subscribed_names

HEARTBEAT_SECONDS = 10.0
"""A worker that has been silent for longer is taken for dead."""


@dataclass(frozen=True)
class Pulse:
    """What was found. Ages in seconds; None where there is nothing."""

    workers: int
    canary_age: float | None
    canary_took: float | None
    oldest_waiting: float
    oldest_call: float
    oldest_timer: float
    parked: int


def pulse(service: ServiceConfig) -> Pulse:
    """Feel a service's pulse. Raises django.db.Error when its database does not tell in time."""
    tables = service.tables
    sources = {source: log for source, log in readable(service).items()
               if subscribed_names(service.label, source)}  # fmt: skip
    first = " UNION ALL ".join(_first_waiting(log) for log in sources.values())
    sql = f"""
        WITH place AS MATERIALIZED (SELECT number, positions FROM "{tables.partition._meta.db_table}")
        SELECT w.alive, extract(epoch FROM messaging_now() - coalesce(c.answered_at, c.asked_at)),
            CASE WHEN c.answered_at IS NOT NULL THEN c.took_us / 1e6 END,
            (SELECT extract(epoch FROM messaging_now() - min(recorded_at)) FROM ({first}) AS first),
            {oldest_call(service)}, {oldest_timer(service)},
            (SELECT count(*) FROM (SELECT FROM "{tables.parked._meta.db_table}" LIMIT %s) AS p)
        FROM (SELECT count(*) AS alive FROM "{tables.worker._meta.db_table}"
              WHERE heartbeat_at > messaging_now() - make_interval(secs => %s)) AS w
        LEFT JOIN "{tables.canary._meta.db_table}" AS c ON c.tenant = %s AND c.name = %s"""
    stretches = [
        value
        for source in sources
        for value in (source, STRETCH, source, subscribed_names(service.label, source))
    ]
    alias = service.database
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        cursor.execute(sql, [*stretches, STRETCH, HEARTBEAT_SECONDS, NO_SHOP, NAME])
        workers, age, took, *oldest, parked = cursor.fetchone()
    waiting, call, timer = (_seconds(each) or 0.0 for each in oldest)
    return Pulse(workers, _seconds(age), _seconds(took), waiting, call, timer, parked)


def _first_waiting(log: str) -> str:
    return f"""
        (SELECT entry.recorded_at FROM (
            SELECT position, partition, name, recorded_at FROM "{log}"
            WHERE position > (SELECT min(coalesce((positions ->> %s)::bigint, 0)) FROM place)
            ORDER BY position LIMIT %s
         ) AS entry JOIN place ON place.number = entry.partition
            AND entry.position > coalesce((place.positions ->> %s)::bigint, 0)
         WHERE entry.name = ANY(%s) ORDER BY entry.position LIMIT 1)"""


def _seconds(value: object) -> float | None:
    return None if value is None else max(float(str(value)), 0.0)
