"""Operators ask for rebuilds, watch them and call them off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ecommerce.messaging import rebuilds
from ecommerce.messaging.projections import groups, read_models
from ecommerce.messaging.rebuilder import Rebuilder
from ecommerce.messaging.services import services

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ADDRESS = "/api/operations/rebuilds"


@pytest.fixture
def operator(with_token: Callable[..., Client]) -> Client:
    return with_token("operations")


def ask(client: Client, read_model: str = "customers.OrderSummary", **options: Any) -> Any:
    body = {"readModel": read_model, **options}
    return client.post(ADDRESS, body, content_type="application/json")


def work() -> None:
    Rebuilder(services(), threading.Event()).look("default")


def test_a_rebuild_is_requested_run_by_a_worker_and_shown(operator: Client) -> None:
    asked = ask(operator)

    assert asked.status_code == 202
    body = asked.json()
    assert (body["readModels"], body["state"]) == (["customers.OrderSummary"], "requested")
    assert body["actor"].startswith("token:")
    assert body["differences"] is None

    work()

    shown = operator.get(asked["Location"]).json()
    assert (shown["state"], shown["differences"], shown["error"]) == ("done", 0, "")
    assert operator.get(ADDRESS).json() == {"items": [shown], "next": None}


def test_a_group_is_made_together_and_may_only_be_compared(operator: Client) -> None:
    body = ask(operator, "analytics.DailySales", compare=True).json()

    assert body["readModels"] == [
        "analytics.Buyer",
        "analytics.Cohorts",
        "analytics.DailySales",
        "analytics.HourlySales",
        "analytics.PlacedOrder",
        "analytics.ProductSales",
    ]
    assert body["state"] == "to compare"
    work()
    assert operator.get(f"{ADDRESS}/{body['id']}").json()["state"] == "compared"


def test_a_second_one_of_the_same_group_is_refused(operator: Client) -> None:
    first = ask(operator).json()
    second = ask(operator)

    assert second.status_code == 409
    assert first["id"] == second.json()["id"]
    assert ask(operator, "inventory.InventoryLevel").status_code == 202


def test_one_that_waits_is_cancelled_and_one_that_is_over_is_not(operator: Client) -> None:
    first = ask(operator).json()

    cancelled = operator.post(f"{ADDRESS}/{first['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    again = operator.post(f"{ADDRESS}/{first['id']}/cancel")
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "the rebuild is cancelled: there is nothing to cancel",
    )
    work()
    assert operator.get(f"{ADDRESS}/{first['id']}").json()["state"] == "cancelled"


@pytest.fixture
def requested(operator: Client) -> list[str]:
    """Requests in several services, newest first."""
    asked = [rebuilds.request(group, "user:1") for group in groups(read_models())]
    return [str(row.id) for row in reversed(asked)]


def test_they_are_listed_page_by_page_over_all_services(
    operator: Client, requested: list[str]
) -> None:
    found, cursor = [], ""
    while True:
        page = operator.get(ADDRESS, {"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        found += [item["id"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break

    assert found == requested


@pytest.mark.parametrize("read_model", ["customers.Customer", "nonsense", ""])
def test_a_read_model_that_does_not_exist_is_refused(read_model: str, operator: Client) -> None:
    refused = ask(operator, read_model)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "readModel"
    assert operator.get(ADDRESS).json()["items"] == []


@pytest.mark.parametrize("rebuild_id", ["nonsense", "0193e1f0-0000-7000-8000-000000000000"])
def test_an_unknown_rebuild_is_not_found(rebuild_id: str, operator: Client) -> None:
    assert operator.get(f"{ADDRESS}/{rebuild_id}").status_code == 404
    assert operator.post(f"{ADDRESS}/{rebuild_id}/cancel").status_code == 404
    assert operator.get(ADDRESS, {"cursor": "nonsense"}).status_code == 422
