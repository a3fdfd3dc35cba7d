"""Alive without anything; ready only when the work gets done."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connections
from django.test import Client

from ecommerce.messaging.services import service, services


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
    assert failing(client) == {f"workers {config.label}": "0 alive" for config in services()}
    assert client.get("/health").json()["status"] == "degraded"


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(("age", "name", "found"), [
    (90, "orders.NobodyListens", {}),
    (30, "inventory.ReserveInventory", {}),
    (90, "inventory.ReserveInventory", {"deliveries inventory": "the oldest message waits for 90 s"}),
])  # fmt: skip
def test_a_message_that_waits_too_long_is_told(
    client: Client, age: int, name: str, found: dict[str, str]
) -> None:
    beat()
    send(age, name)

    assert failing(client) == found


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
