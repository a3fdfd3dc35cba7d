"""Alive without anything; ready only when the work gets done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from ecommerce.messaging import tenancy
from ecommerce.messaging.ages import STRETCH
from ecommerce.messaging.pulse import pulse
from ecommerce.messaging.services import service, services
from tests.admin import rows


def beat(seconds_ago: float = 0) -> None:
    for config in services():
        with connections[config.database].cursor() as cursor:
            cursor.execute(
                f'INSERT INTO "{config.tables.worker._meta.db_table}" (name, heartbeat_at, signed_off) '
                "VALUES ('w', messaging_now() - make_interval(secs => %s), false)",
                [seconds_ago],
            )


def failing(client: Client) -> dict[str, str]:
    checks = client.get("/health/ready").json()["checks"]
    return {check["name"]: check["detail"] for check in checks if not check["ok"]}


def assert_told(told: dict[str, str], expected: dict[str, str]) -> None:
    """Compare by pattern: a slow machine adds a second to an age."""
    assert told.keys() == expected.keys()
    assert all(re.fullmatch(pattern, told[name]) for name, pattern in expected.items()), told


@pytest.mark.parametrize("address", ["/health/live", "/alive"])
def test_a_process_is_alive_whatever_the_database_does(client: Client, address: str) -> None:
    response = client.get(address)  # a test without a database: a query would fail it

    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert client.head(address).status_code == 200
    assert client.post(address).status_code == 405


@pytest.mark.django_db(databases="__all__")
def test_ready_means_that_workers_beat(client: Client) -> None:
    beat()
    response = client.get("/health/ready")

    assert failing(client) == {}
    assert (response.status_code, response.json()["status"]) == (200, "ready")
    assert client.get("/health").json()["status"] == "healthy"


@pytest.mark.django_db(databases="__all__")
def test_a_worker_that_fell_silent_is_missed(client: Client) -> None:
    beat(seconds_ago=11)
    response = client.get("/health/ready")

    assert response.status_code == 503
    silence = "none for 10 s: is `manage.py runworker` running?"
    assert failing(client) == {f"workers {config.label}": silence for config in services()}
    assert client.get("/health").json()["status"] == "degraded"


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(("age", "name", "found"), [
    (90, "orders.NobodyListens", {}),
    (30, "inventory.ReserveInventory", {}),
    (90, "inventory.ReserveInventory", {"deliveries inventory": r"the oldest message waits for 9\d s"}),
])  # fmt: skip
def test_a_message_that_waits_too_long_is_told(
    client: Client, age: int, name: str, found: dict[str, str]
) -> None:
    beat()
    send(age, name)

    assert_told(failing(client), found)


@pytest.mark.django_db(databases="__all__")
def test_both_ages_stand_in_the_answer_beside_what_they_may_be(
    client: Client, settings: Settings
) -> None:
    settings.READY_CANARY_SECONDS, settings.READY_OLDEST_SECONDS = 100, 50
    beat()
    ping("orders", asked=50, answered=40)
    send(15, "inventory.ReserveInventory")

    checks = {check["name"]: check for check in client.get("/health/ready").json()["checks"]}

    canary, waiting = checks["canary orders"], checks["deliveries inventory"]
    assert (canary["ok"], canary["limit"], 40 <= canary["seconds"] < 50) == (True, 100, True)
    assert re.fullmatch(r"answered 4\d s ago, after 35 ms", canary["detail"])
    assert (waiting["ok"], waiting["limit"], 15 <= waiting["seconds"] < 25) == (True, 50, True)
    assert checks["canary payments"]["detail"] == "nothing was asked yet"
    assert "seconds" not in checks["canary payments"]


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(("asked", "answered", "found"), [
    (170, None, {}),
    (190, None, {"canary orders": r"has not answered since it was first asked 19\d s ago"}),
    (170, 170, {}),
    (10, 190, {"canary orders": r"answered 19\d s ago, after 35 ms"}),
])  # fmt: skip
def test_a_canary_that_does_not_answer_makes_not_ready(
    client: Client, asked: int, answered: int | None, found: dict[str, str]
) -> None:
    beat()
    ping("orders", asked=asked, answered=answered)

    assert_told(failing(client), found)
    assert client.get("/health/ready").status_code == (503 if found else 200)


def ping(label: str, *, asked: int, answered: int | None) -> None:
    """Have a canary that was asked, and has answered, so many seconds ago."""
    config = service(label)
    with connections[config.database].cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO "{config.tables.canary._meta.db_table}"
                (id, tenant, name, asked_at, answered_at, took_us)
            VALUES (gen_random_uuid(), '-', 'ping', messaging_now() - make_interval(secs => %s),
                    messaging_now() - make_interval(secs => %s), 35000)""",
            [asked, answered],
        )


@pytest.mark.django_db(databases="__all__")
def test_where_workers_are_not_needed_their_absence_is_told_and_takes_nothing_out_of_service(
    client: Client, settings: Settings
) -> None:
    settings.READY_NEEDS_WORKERS = False
    ping("orders", asked=600, answered=500)

    response = client.get("/health/ready")

    assert (response.status_code, response.json()["status"]) == (200, "ready")
    assert {"workers orders", "workers payments", "canary orders"} <= failing(client).keys()
    assert client.get("/health").json()["status"] == "degraded"


def send(age: int, name: str) -> None:
    orders = service("orders")
    with connections[orders.database].cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO "{orders.tables.log._meta.db_table}"
                (message_id, tenant, stream, partition, name, contract, payload, correlation_id,
                 actor, recorded_at)
            VALUES (gen_random_uuid(), 'main', 'order/1', 3, %s, 1, '{{}}', gen_random_uuid(),
                    'test', messaging_now() - make_interval(secs => %s))""",
            [name, age],
        )


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(("queue", "age", "found"), [
    ("effect", 90, {"calls payments": r"the oldest call that nobody takes is due for 9\d s"}),
    ("effect", 30, {}),
    ("effect", -5, {}),
    ("timer", 90, {"timers payments": r"the oldest timer that nobody takes is due for 9\d s"}),
    ("timer", -5, {}),
])  # fmt: skip
def test_what_is_due_and_nobody_takes_is_told(
    client: Client, queue: str, age: int, found: dict[str, str]
) -> None:
    beat()
    due_at = timezone.now() - timedelta(seconds=age)
    rows.make(getattr(service("payments").tables, queue), due_at=due_at)

    assert_told(failing(client), found)
    assert client.get("/health/ready").status_code == (503 if found else 200)


@pytest.mark.django_db(databases="__all__")
def test_a_message_that_was_read_waits_no_longer(client: Client) -> None:
    beat()
    send(90, "inventory.ReserveInventory")
    inventory = service("inventory")
    with connections[inventory.database].cursor() as cursor:
        cursor.execute(
            f"""UPDATE "{inventory.tables.partition._meta.db_table}"
                SET positions = '{{"orders": 1000000}}'"""
        )

    assert failing(client) == {}


@pytest.mark.django_db(databases="__all__")
def test_the_first_message_that_waits_is_found_behind_a_bounded_stretch_only() -> None:
    """However much stands in a log that nobody here handles, readiness reads as little of it."""
    flood = f"""
        INSERT INTO "{service("orders").tables.log._meta.db_table}"
            (message_id, tenant, stream, partition, name, contract, payload, correlation_id,
             actor, recorded_at)
        SELECT gen_random_uuid(), 'main', 'order/1', n %% 8, 'orders.NobodyListens', 1, '{{}}',
               gen_random_uuid(), 'test', messaging_now() - interval '1 hour'
        FROM generate_series(1, %s) AS n"""
    connection = connections[service("orders").database]
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
        cursor.execute(flood, [5 * STRETCH])
        cursor.execute("ANALYZE orders_log")
        pulse(service("inventory"))
        (statement,) = [q["sql"] for q in asked.captured_queries if "WITH place" in q["sql"]]
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        ((plan,),) = cursor.fetchall()

    assert sum(_rows_read(plan[0]["Plan"], "orders_log")) <= STRETCH


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("due", ["-1 hour", "1 hour"])
def test_of_the_calls_one_of_each_partition_is_looked_at(due: str) -> None:
    effect = service("payments").tables.effect
    rows.make(effect)
    names = ", ".join(
        str(f.column) for f in effect._meta.fields if f.name not in {"id", "due_at", "partition"}
    )
    flood = f"""INSERT INTO payments_effect (id, due_at, partition, {names})
        SELECT gen_random_uuid(), messaging_now() + %s::interval, n %% 64, {names}
        FROM payments_effect, generate_series(1, 5000) AS n"""
    connection = connections[service("payments").database]
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
        cursor.execute(flood, [due])
        cursor.execute("ANALYZE payments_effect")
        pulse(service("payments"))
        (statement,) = [q["sql"] for q in asked.captured_queries if "WITH place" in q["sql"]]
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        ((plan,),) = cursor.fetchall()

    assert sum(_rows_read(plan[0]["Plan"], "payments_effect")) <= 64


def _rows_read(node: dict[str, Any], table: str) -> Iterator[int]:
    if node.get("Relation Name") == table:
        yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from _rows_read(child, table)


def test_a_database_that_is_away_makes_not_ready_and_tells_nothing_else(
    client: Client, django_db_blocker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {**settings.DATABASES["default"], "HOST": "127.0.0.1", "PORT": "1", "NAME": "away"}
    connection = connections.create_connection("default")
    monkeypatch.setattr(connection, "settings_dict", {**connection.settings_dict, **away})
    stored = connections._connections  # type: ignore[attr-defined]
    monkeypatch.setattr(stored, "default", connection, raising=False)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        response = client.get("/health/ready")

    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert response.json()["checks"][0] == {
        "name": "database default",
        "ok": False,
        "detail": "the database does not answer",
    }


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_process_that_cannot_keep_tenants_apart_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat()
    monkeypatch.setattr(tenancy, "WEB_ROLE", "nobody_made_it")

    assert set(failing(client)) == {f"row security {alias}" for alias in connections}
    assert "nobody_made_it" in failing(client)["row security default"]
