"""From a request to a command and back, with real services and a database that commits."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from inventory.models import Product, tables

pytestmark = pytest.mark.django_db(transaction=True)
WithToken = Callable[..., Client]
HAT = {"productId": "prod-hat", "name": "Hat", "description": "Warm.", "price": 19.99}


@pytest.fixture
def staff(with_token: WithToken) -> Client:
    return with_token("inventory:write", "inventory:read")


def create(client: Client, body: dict[str, Any] = HAT, key: str | None = None) -> Any:
    headers = {} if key is None else {"idempotency-key": key}
    return client.post("/api/products", body, content_type="application/json", headers=headers)


def test_a_write_says_where_the_new_thing_is_and_it_is_there_at_once(staff: Client) -> None:
    response = create(staff)

    assert response.status_code == 201
    assert response["X-Consistency-Token"]
    assert staff.get(response["Location"]).json()["price"] == 19.99


def test_the_message_carries_the_caller_and_the_correlation_id(staff: Client) -> None:
    correlation = str(uuid.uuid4())
    staff.post("/api/products", HAT, "application/json", headers={"x-correlation-id": correlation})

    entry = tables.log._default_manager.get(name="inventory.ProductCreated")
    assert str(entry.correlation_id) == correlation
    assert entry.actor.startswith("token:")
    assert entry.tenant == "main"


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "carried"),
    [
        (TRACE, TRACE),
        (None, None),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", None),
        (TRACE + "-more", None),
        (TRACE.upper(), None),
        ("x" * 10_000, None),
    ],
)
def test_the_message_carries_the_callers_trace_if_it_is_one(
    staff: Client, header: str | None, carried: str | None
) -> None:
    headers = {"traceparent": header} if header else {}
    response = staff.post("/api/products", HAT, "application/json", headers=headers)

    assert response.status_code == 201
    entry = tables.log._default_manager.get(name="inventory.ProductCreated")
    assert entry.traceparent == carried


def test_the_same_key_and_body_give_the_same_answer_and_one_effect(staff: Client) -> None:
    first = create(staff, key="k1")
    again = create(staff, dict(reversed(HAT.items())), key="k1")

    assert (again.status_code, again.content) == (201, first.content)
    assert again["Location"] == first["Location"]
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert Product.objects.count() == 1


def test_the_same_key_for_another_body_is_refused(staff: Client) -> None:
    create(staff, key="k1")
    refused = create(staff, HAT | {"productId": "prod-cap"}, key="k1")

    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-key-reused")
    assert Product.objects.count() == 1


def test_a_key_belongs_to_its_caller(with_token: WithToken) -> None:
    create(with_token("inventory:write"), key="k1")
    other = create(with_token("inventory:write"), key="k1")

    assert (other.status_code, other.json()["code"]) == (409, "product-exists")


def test_a_refusal_is_not_remembered(staff: Client) -> None:
    create(staff)
    refused = create(staff, key="k1")
    Product.objects.all().delete()

    assert refused.status_code == 409
    assert not tables.idempotency._default_manager.exists()


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\tb"])
def test_a_key_is_printable_and_short(staff: Client, key: str) -> None:
    refused = create(staff, key=key)

    assert (refused.status_code, refused.json()["code"]) == (422, "bad-idempotency-key")
    assert not Product.objects.exists()


@pytest.mark.parametrize("token", ["x", "%00", "ü", "x" * 3000, "W10"])
def test_a_token_that_is_not_ours_is_refused(staff: Client, token: str) -> None:
    refused = staff.get(f"/api/products?waitFor={token}")

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "waitFor"


def test_a_read_that_waited_in_vain_says_so(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecommerce.web.consistency.WAIT_SECONDS", 0.05)
    token = create(staff)["X-Consistency-Token"]  # no worker runs

    response = staff.get(f"/api/inventory?waitFor={token}")

    assert response.status_code == 200
    assert response["X-Consistency"] == "stale"
    assert "X-Consistency" not in staff.get("/api/inventory")
