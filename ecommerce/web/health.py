"""Whether this process lives, and whether the platform can do its work.

`/health/live` (and `/alive`) asks nothing but the process, so that a database that is away never
gets processes restarted. `/health/ready` asks each service's database: does it answer, is it
migrated, do workers beat, does the canary's ping come through, is anything waiting too long to be
delivered, called, sent at its time or relayed to another database. `/health` is both, for people.
Details are for operators: what a check found is a sentence without internals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import psycopg
import structlog
from django.conf import settings
from django.db import DataError, Error, ProgrammingError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from psycopg_pool import PoolTimeout

from ecommerce.messaging import desk, tenancy
from ecommerce.messaging.ages import crossings, oldest_unrelayed
from ecommerce.messaging.pulse import HEARTBEAT_SECONDS, Pulse, pulse
from ecommerce.messaging.services import ServiceConfig, services

from .rendering import to_json

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one check found. `seconds` is how old something is that may be `limit` seconds old.

    One that is not `needed` tells what it found, and takes no process out of service.
    """

    name: str
    ok: bool
    detail: str
    seconds: float | None = None
    limit: float | None = None
    needed: bool = True

    @property
    def fails(self) -> bool:
        return self.needed and not self.ok


@tenancy.acting_for(tenancy.EVERY)
def readiness() -> list[Check]:
    """All checks, by database and then by service; a database that is away ends its own.

    At last what crosses between two databases that answer.
    """
    found, usable = [], set()
    for alias in connections:
        reached = _guarded(f"database {alias}", _answers, alias)
        if reached[-1].ok:
            reached += _guarded(f"migrations {alias}", _migrated, alias)
        if reached[-1].ok:
            usable.add(alias)
            reached += _guarded(f"row security {alias}", _keeps_tenants_apart, alias)
            for service in services():
                if service.database == alias:
                    reached += _guarded(f"service {service.label}", _works, service)
        found += reached
    for source, target in crossings():
        if {source.database, target.database} <= usable:
            name = f"relay {source.label} to {target.label}"
            found += _guarded(name, _arrives, (source, target))
    return found


def _guarded(name: str, check: Callable[[T], list[Check]], subject: T) -> list[Check]:
    try:
        return check(subject)
    except (Error, psycopg.Error, PoolTimeout) as error:
        log.warning("health check failed", check=name, error=str(error))
        return [Check(name, ok=False, detail="the database does not answer")]


def _answers(alias: str) -> list[Check]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    return [Check(f"database {alias}", ok=True, detail="answers")]


_migrated_once: set[str] = set()


def _migrated(alias: str) -> list[Check]:
    """Asked until it is true: this process's code does not change, so neither does the answer."""
    name = f"migrations {alias}"
    if alias not in _migrated_once:
        executor = MigrationExecutor(connections[alias])
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing:
            return [Check(name, ok=False, detail=f"{len(missing)} migrations are missing")]
        _migrated_once.add(alias)
    return [Check(name, ok=True, detail="all applied")]


def _keeps_tenants_apart(alias: str) -> list[Check]:
    """Whether requests may act as the role to which the database shows one tenant's rows."""
    name = f"row security {alias}"
    try:
        with tenancy.acting_for(tenancy.NOBODY), connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DataError, ProgrammingError):
        detail = f"requests may not act as the role {tenancy.WEB_ROLE}: grant it to this user"
        return [Check(name, ok=False, detail=detail)]
    return [Check(name, ok=True, detail=f"requests act as the role {tenancy.WEB_ROLE}")]


def _works(service: ServiceConfig) -> list[Check]:
    """What only workers can make true; a setting says whether requests are to wait for it."""
    found = pulse(service)
    needed = settings.READY_NEEDS_WORKERS
    return [
        _workers_beat(service.label, found, needed=needed),
        _canary_answers(service.label, found, needed=needed),
        _nothing_waits(service.label, found, needed=needed),
        _not_overdue("call", service.label, found.oldest_call, needed=needed),
        _not_overdue("timer", service.label, found.oldest_timer, needed=needed),
        _nothing_is_parked(service.label, found),
        _nothing_is_dead(service),
    ]


def _workers_beat(label: str, found: Pulse, *, needed: bool) -> Check:
    silence = f"none for {HEARTBEAT_SECONDS:.0f} s: is `manage.py runworker` running?"
    detail = f"{found.workers} alive" if found.workers else silence
    return Check(f"workers {label}", ok=bool(found.workers), detail=detail, needed=needed)


def _canary_answers(label: str, found: Pulse, *, needed: bool) -> Check:
    age, limit = found.canary_age, float(settings.READY_CANARY_SECONDS)
    if age is None:
        detail = "nothing was asked yet"
    elif found.canary_took is None:
        detail = f"has not answered since it was first asked {age:.0f} s ago"
    else:
        detail = f"answered {age:.0f} s ago, after {found.canary_took * 1000:.0f} ms"
    ok = age is None or age <= limit
    return Check(f"canary {label}", ok, detail, _rounded(age), limit, needed)


def _nothing_waits(label: str, found: Pulse, *, needed: bool) -> Check:
    """The age of the oldest message that was sent to this service and not yet delivered."""
    age, limit = found.oldest_waiting, float(settings.READY_OLDEST_SECONDS)
    detail = f"the oldest message waits for {age:.0f} s"
    return Check(f"deliveries {label}", age <= limit, detail, _rounded(age), limit, needed)


def _not_overdue(what: str, label: str, age: float, *, needed: bool) -> Check:
    """The age of the first that is due and that no worker takes."""
    limit = float(settings.READY_OLDEST_SECONDS)
    detail = f"the oldest {what} that nobody takes is due for {age:.0f} s"
    return Check(f"{what}s {label}", age <= limit, detail, _rounded(age), limit, needed)


def _arrives(crossing: tuple[ServiceConfig, ServiceConfig]) -> list[Check]:
    """The age of the oldest message that has not arrived in the target's database."""
    source, target = crossing
    age, limit = oldest_unrelayed(source, target), float(settings.READY_OLDEST_SECONDS)
    detail = f"the oldest message that has not arrived waits for {age:.0f} s"
    name, needed = f"relay {source.label} to {target.label}", settings.READY_NEEDS_WORKERS
    return [Check(name, age <= limit, detail, _rounded(age), limit, needed)]


def _nothing_is_parked(label: str, found: Pulse) -> Check:
    """Deliveries that failed hold back their own streams only: requests go on, people should look."""
    detail = f"{found.parked} deliveries are parked"
    return Check(f"parked {label}", ok=not found.parked, detail=detail, needed=False)


def _nothing_is_dead(service: ServiceConfig) -> Check:
    """Letters that wait for somebody's decision."""
    waiting = desk.waiting(service)
    detail = f"{waiting} dead letters wait"
    return Check(f"dead letters {service.label}", ok=not waiting, detail=detail, needed=False)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


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
    ok = not any(check.fails for check in checks)
    body = {"status": "ready" if ok else "not ready", "checks": checks}
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
