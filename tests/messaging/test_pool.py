"""The kernel's pooled connections: they are told for whom they work, and found out when they died."""

from __future__ import annotations

import psycopg
import pytest

from ecommerce.messaging import tenancy
from ecommerce.messaging.database import connect, connection

pytestmark = pytest.mark.django_db(transaction=True)

TOLD = "SELECT current_user = 'shop_web', current_setting('messaging.tenant')"


def cut_off() -> int:
    """Use a connection, and end it behind its back; return its process."""
    with connection("default") as conn:
        pid = conn.info.backend_pid
    with connect("default") as other:
        other.execute("SELECT pg_terminate_backend(%b::int, 5000)", (pid,))
    return pid


def told() -> tuple[bool, str]:
    with connection("default") as conn:
        (is_web, tenant) = conn.execute(TOLD).fetchone() or (False, "")
    return is_web, tenant


def test_a_connection_that_died_meanwhile_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "TOLD_SECONDS", -1)
    cut_off()

    assert told() == (False, tenancy.EVERY)


def test_one_that_died_a_moment_ago_fails_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "TOLD_SECONDS", 60)
    cut_off()

    with pytest.raises(psycopg.OperationalError):
        told()
    assert told() == (False, tenancy.EVERY)


def test_a_connection_keeps_the_plans_of_all_statements_that_a_worker_has() -> None:
    with connect("default") as conn:
        for number in range(300):
            conn.execute(f"SELECT {number}")
        kept = conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()

    assert kept == (301,)


def test_whoever_works_for_somebody_else_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "TOLD_SECONDS", 60)

    seen = []
    for tenant in ("main", "other", tenancy.EVERY, "main"):
        with tenancy.acting_for(tenant):
            seen.append(told())

    assert seen == [(True, "main"), (True, "other"), (False, tenancy.EVERY), (True, "main")]
