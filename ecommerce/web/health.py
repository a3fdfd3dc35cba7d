"""Whether this process lives, and whether the platform can do its work.

`/health/live` (and `/alive`) asks nothing but the process, so that a database that is away never
gets processes restarted. `/health/ready` asks each service's database: does it answer, is it
migrated, do workers beat, is anything waiting too long to be delivered. `/health` is both, for
people. Details are for operators: what a check found is a sentence without internals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import Error, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from psycopg_pool import PoolTimeout

from ecommerce.messaging.services import ServiceConfig, services
from ecommerce.messaging.subscriptions import subscribed_names

from .rendering import to_json

HEARTBEAT_SECONDS = 10
OLDEST_SECONDS = 60
STATEMENT_TIMEOUT = "2s"

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    ok: bool
    detail: str


def readiness() -> list[Check]:
    """All checks, by database and then by service; a database that is away ends its own."""
    found = []
    for alias in connections:
        reached = [_guarded(f"database {alias}", _answers, alias)]
        if reached[-1].ok:
            reached.append(_guarded(f"migrations {alias}", _migrated, alias))
        if reached[-1].ok:
            for service in services():
                if service.database == alias:
                    reached.append(_guarded(f"workers {service.label}", _workers_beat, service))
                    reached.append(_guarded(f"deliveries {service.label}", _nothing_waits, service))
        found += reached
    return found


def _guarded(name: str, check: Callable[[T], tuple[bool, str]], subject: T) -> Check:
    try:
        return Check(name, *check(subject))
    except (Error, PoolTimeout) as error:
        log.warning("health check failed", check=name, error=str(error))
        return Check(name, ok=False, detail="the database does not answer")


def _answers(alias: str) -> tuple[bool, str]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    return True, "answers"


_migrated_once: set[str] = set()


def _migrated(alias: str) -> tuple[bool, str]:
    """Asked until it is true: this process's code does not change, so neither does the answer."""
    if alias not in _migrated_once:
        executor = MigrationExecutor(connections[alias])
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing:
            return False, f"{len(missing)} migrations are missing"
        _migrated_once.add(alias)
    return True, "all applied"


def _workers_beat(service: ServiceConfig) -> tuple[bool, str]:
    table = service.tables.worker._meta.db_table
    alive = _scalar(
        service.database,
        f'SELECT count(*) FROM "{table}" '
        "WHERE heartbeat_at > messaging_now() - make_interval(secs => %s)",
        [HEARTBEAT_SECONDS],
    )
    return bool(alive), f"{alive} alive"


def _nothing_waits(service: ServiceConfig) -> tuple[bool, str]:
    """The age of the oldest message that was sent to this service and not yet delivered."""
    partitions = service.tables.partition._meta.db_table
    oldest = max(
        (
            float(
                _scalar(service.database, _oldest_waiting(log_table, partitions), [source, names])
                or 0
            )
            for source, log_table in _sources(service).items()
            if (names := subscribed_names(service.label, source))
        ),
        default=0.0,
    )
    return oldest <= OLDEST_SECONDS, f"the oldest message waits for {oldest:.0f} s"


def _sources(service: ServiceConfig) -> dict[str, str]:
    """What the service reads in its own database: the logs there, and its inbox."""
    logs = {
        other.label: other.tables.log._meta.db_table
        for other in services()
        if other.database == service.database
    }
    return logs | {"inbox": service.tables.inbox._meta.db_table}


def _oldest_waiting(log_table: str, partitions: str) -> str:
    return f"""
        WITH place AS MATERIALIZED (
            SELECT number, coalesce((positions ->> %s)::bigint, 0) AS position FROM "{partitions}"
        )
        SELECT extract(epoch FROM messaging_now() - entry.recorded_at)
        FROM "{log_table}" entry JOIN place ON place.number = entry.partition
        WHERE entry.position > (SELECT min(position) FROM place)
          AND entry.position > place.position AND entry.name = ANY(%s)
        ORDER BY entry.position LIMIT 1"""


def _scalar(alias: str, sql: str, parameters: list[Any]) -> Any:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
    return row[0] if row else None


@never_cache
@require_safe
def live(_request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return _json({"status": "alive"})


@never_cache
@require_safe
def ready(_request: HttpRequest) -> HttpResponse:
    """Whether requests should be sent here."""
    checks = readiness()
    ok = all(check.ok for check in checks)
    body = {"status": "ready" if ok else "not ready", "checks": [asdict(check) for check in checks]}
    return _json(body, status=200 if ok else 503)


@never_cache
@require_safe
def summary(_request: HttpRequest) -> HttpResponse:
    """The platform in a few lines."""
    checks = readiness()
    failing = [check.name for check in checks if not check.ok]
    body = {
        "status": "degraded" if failing else "healthy",
        "environment": getattr(settings, "ENVIRONMENT", "development"),
        "services": [service.label for service in services()],
        "failing": failing,
    }
    return _json(body, status=503 if failing else 200)


def _json(body: object, status: int = 200) -> HttpResponse:
    response = HttpResponse(to_json(body), status=status, content_type="application/json")
    if status == 503:
        response["Retry-After"] = "5"
    return response


urlpatterns = [
    path("health", summary, name="health"),
    path("health/live", live, name="health-live"),
    path("health/ready", ready, name="health-ready"),
    path("alive", live, name="alive"),
]
