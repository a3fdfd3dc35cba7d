"""Audits that operators ask for: a row for each, which a worker carries out.

    requested → running → done, failed

A worker looks for requests every few seconds, beside its messages (see `ecommerce.messaging.rebuilder`).
It acts for the tenant that asked, so row security lets the checks see that tenant's rows alone. While
it runs one it holds an advisory lock: a row that says so without the lock is one whose worker died.
A check may take STATEMENT_SECONDS; what takes longer is said to be unknown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from ecommerce.audit import checks
from ecommerce.messaging.database import Connection, connect, connection
from ecommerce.messaging.invariants import Check, Offender, run
from ecommerce.messaging.replay import Difference
from ecommerce.messaging.services import services
from ecommerce.messaging.tenancy import acting_for

from .models import DONE, FAILED, OPEN, REQUESTED, RUNNING, Audit

logger = logging.getLogger(__name__)

ALIAS = "default"
STATEMENT_SECONDS = 60
PATIENCE = 3.0
"""Seconds for which a check that finds something is asked again: messages may be on their way."""
TOO_LONG = "canceling statement due to statement timeout"
ELSEWHERE = "see `manage.py audit`"
DIED = "the worker that ran it has ended"


def request(tenant: str, actor: str) -> Audit:
    """Ask for an audit of a tenant, or find the one that is to be done already."""
    now = timezone.now()
    try:
        with transaction.atomic(using=ALIAS):
            return Audit.objects.create(
                tenant=tenant, actor=actor, requested_at=now, updated_at=now
            )
    except IntegrityError:
        return Audit.objects.filter(tenant=tenant).latest("id")


def newest(tenant: str, count: int) -> list[Audit]:
    """A tenant's audits, newest first."""
    return list(Audit.objects.filter(tenant=tenant).order_by("-id")[:count])


def look(stopping: threading.Event) -> None:
    """Carry out what was requested. Only a worker that reaches every service can."""
    if settings.WORKER_SERVICES:
        return
    with connection(ALIAS) as conn:
        waiting = conn.execute(
            f"""SELECT id, tenant FROM "{Audit._meta.db_table}" WHERE state = ANY(%b::text[])
                ORDER BY id""",
            (list(OPEN),),
        ).fetchall()
    for audit_id, tenant in waiting:
        with connect(ALIAS, "audit") as conn:
            if not stopping.is_set() and _is_mine(conn, tenant):
                with acting_for(tenant):
                    _take(Audit.objects.get(pk=audit_id), stopping)


def _is_mine(conn: Connection, tenant: str) -> bool:
    (mine,) = conn.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(%b::text, 0))", (f"audit of {tenant}",)
    ).fetchone() or (False,)
    return bool(mine)


def _take(audit: Audit, stopping: threading.Event) -> None:
    """Run it under its lock; what somebody else has finished meanwhile is left alone."""
    if audit.state == RUNNING:
        _note(audit, state=FAILED, error=DIED)
    if audit.state == REQUESTED:
        _limit(STATEMENT_SECONDS)
        try:
            _run(audit, stopping)
        finally:
            _limit(0)


def _run(audit: Audit, stopping: threading.Event) -> None:
    asked = checks()
    _note(audit, state=RUNNING, total=len(asked), started_at=timezone.now(), findings=[])
    for check in asked:
        if stopping.is_set():
            _note(audit, state=REQUESTED, findings=[])
            return
        _note(audit, findings=[*audit.findings, _asked(check, audit.tenant)])
    _note(audit, state=DONE)


def _asked(check: Check, tenant: str) -> dict[str, Any]:
    began = time.monotonic()
    finding = run(Check(check.area, check.name, lambda: _own(check, tenant)), PATIENCE)
    too_long = any(TOO_LONG in row for row in finding.shown)
    return {
        "area": check.area,
        "name": check.name,
        "offending": 0 if too_long else finding.offending,
        "shown": [] if too_long else finding.shown,
        "too_long": too_long,
        "took": round(time.monotonic() - began, 3),
    }


def _own(check: Check, tenant: str) -> list[Any]:
    """What offends in this tenant, and without its details what belongs to none: a message that was
    delivered twice may be any shop's. So may what an error quotes: folds read every shop's streams."""
    try:
        found: Sequence[Offender | Difference] = check.offenders()
    except Exception as error:
        if TOO_LONG in str(error):
            raise
        logger.exception("the check %r of %s cannot be asked", check.name, check.area)
        return [f"{type(error).__name__}: {ELSEWHERE}"]
    own = [row for row in found if row.tenant == tenant]
    return own + [f"of no shop: {ELSEWHERE}" for row in found if row.tenant is None]


def _note(audit: Audit, **changes: Any) -> None:
    for name, value in (changes | {"updated_at": timezone.now()}).items():
        setattr(audit, name, value)
    audit.save(update_fields=[*changes, "updated_at"])


def _limit(seconds: int) -> None:
    for alias in {config.database for config in services()}:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [f"{seconds}s"])
