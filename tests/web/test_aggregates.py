"""Operators see any aggregate of their shop as it was; personal data with the right to it only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from customers.models import Customer
from ecommerce.identity.models import Tenant
from ecommerce.messaging import snapshots
from ecommerce.messaging.projections import aggregates
from inventory.models import tables
from tests.messaging.ledgers import contact, product, put, put_one_by_one, registered, restocks
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
WithToken = Callable[..., Client]
HERE = "/api/operations/aggregates"


@pytest.fixture
def operator(with_token: WithToken) -> Client:
    return with_token("operations")


def test_an_aggregate_is_shown_as_it_was(operator: Client) -> None:
    put_one_by_one([product(), *restocks(3)])

    then = operator.get(f"{HERE}/inventory/StockItem/mouse?asOf=3").json()
    now = operator.get(f"{HERE}/inventory/StockItem/mouse").json()

    recorded_at = then.pop("recordedAt")
    assert then == {
        "aggregate": "inventory.StockItem",
        "key": "mouse",
        "version": 3,
        "state": {
            "tenant": "main",
            "product_id": "mouse",
            "warehouse": "main",
            "on_hand": 2,
            "reserved": 0,
        },
    }
    assert (now["version"], now["state"]["on_hand"]) == (4, 3)
    again = operator.get(f"{HERE}/inventory/StockItem/mouse", {"asOf": recorded_at}).json()
    assert again["state"] == then["state"]


def test_what_has_changed_between_two_moments_is_shown(operator: Client) -> None:
    put(product(), *restocks(3))

    response = operator.get(f"{HERE}/inventory/StockItem/mouse/diff?from=2&to=4")

    assert response.json() == {
        "aggregate": "inventory.StockItem",
        "key": "mouse",
        "fromVersion": 2,
        "toVersion": 4,
        "changes": [{"column": "on_hand", "before": 1, "after": 3}],
    }


def test_every_aggregate_of_every_service_can_be_asked_for(
    operator: Client, with_token: WithToken
) -> None:
    open_shop()
    place("one")
    settle()

    found: dict[str, Any] = {}
    for model in aggregates():
        label = model._meta.label.replace(".", "/")
        for row in model._default_manager.all():
            (key,) = (getattr(row, column) for column in model.key_columns())
            found[label] = operator.get(f"{HERE}/{label}/{key}").status_code

    assert set(found.values()) == {200}
    assert len(found) >= 6


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("inventory/StockItem/none", 404),
        ("inventory/StockItem/mouse?asOf=99", 404),
        ("inventory/StockItem/mouse?asOf=1999-01-01T00:00:00Z", 404),
        ("inventory/StockItem/mouse/diff?from=1&to=99", 404),
        ("inventory/InventoryLevel/mouse", 404),
        ("orders/Fulfilment/one", 404),
        ("nowhere/Order/one", 404),
        ("inventory/StockItem/mouse?asOf=soon", 422),
        ("inventory/StockItem/mouse/diff?to=1", 422),
    ],
)
def test_what_never_was_is_not_found_and_nonsense_is_refused(
    operator: Client, path: str, status: int
) -> None:
    put(product(), *restocks(3))

    response = operator.get(f"{HERE}/{path}")

    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"


def test_personal_data_is_for_those_who_may_read_customers(
    operator: Client, with_token: WithToken
) -> None:
    put(registered(), contact("Ada"))
    Customer.objects.create(
        tenant="main", customer_id="ada", guest=False, name="Ada", registered_at="2026-03-01T00:00Z"
    )
    path = f"{HERE}/customers/Customer/ada"

    kept_back = operator.get(path)
    shown = with_token("operations", "customers:read").get(path)

    assert kept_back.json()["state"]["name"] == ""
    assert b"Ada" not in kept_back.content
    assert b"Ada" not in operator.get(f"{path}/diff?from=1&to=2").content
    assert shown.json()["state"]["name"] == "Ada"


def test_another_shops_operator_sees_nothing(with_token: WithToken, other_tenant: Tenant) -> None:
    put(product(), *restocks(3))
    stranger = with_token("operations", tenant="other")

    assert stranger.get(f"{HERE}/inventory/StockItem/mouse").status_code == 404
    assert stranger.get(f"{HERE}/inventory/StockItem/mouse/diff?from=1").status_code == 404


def test_a_long_stream_leaves_snapshots_for_the_next_who_asks(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 5)
    put(product(), *restocks(30))

    states = [operator.get(f"{HERE}/inventory/StockItem/mouse").json()["state"] for _ in range(2)]

    assert [state["on_hand"] for state in states] == [30, 30]
    assert tables.snapshot._default_manager.count() == 6
