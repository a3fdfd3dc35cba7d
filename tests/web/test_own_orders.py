"""What a customer, a stranger and another shop see of an order that is not theirs: nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ecommerce.identity.models import Tenant
from orders.models import CatalogueItem, Order, tables

pytestmark = pytest.mark.django_db(transaction=True)
WithToken = Callable[..., Client]
SCOPES = ("orders:read", "orders:write", "customers:read")
READS = ["/api/orders/{}", "/api/orders/{}/history"]


def place(client: Client, customer_id: str, path: str = "/api/orders", **headers: str) -> Any:
    order = {"customerId": customer_id, "items": [{"productId": "prod-456", "quantity": 1}]}
    return client.post(path, order, content_type="application/json", headers=headers or None)


@pytest.fixture
def catalogue(tenant: Tenant) -> None:
    for slug, price in (("main", 1999), ("other", 500)):
        CatalogueItem.objects.create(
            tenant=slug, product_id="prod-456", name="Mouse", price=price, currency="USD"
        )


@pytest.fixture
def ann(with_token: WithToken) -> Client:
    return with_token(*SCOPES, customer_id="ann")


@pytest.fixture
def order_id(ann: Client, catalogue: None) -> str:
    return str(place(ann, "ann").json()["orderId"])


def test_a_customer_reaches_their_own_order(ann: Client, order_id: str) -> None:
    assert [ann.get(path.format(order_id)).status_code for path in READS] == [200, 200]


def test_another_customers_order_looks_like_none(with_token: WithToken, order_id: str) -> None:
    bob = with_token(*SCOPES, customer_id="bob")
    entries = tables.log._default_manager.count()

    assert [bob.get(path.format(order_id)).status_code for path in READS] == [404, 404]
    assert bob.post(f"/api/orders/{order_id}/cancel").status_code == 404
    assert bob.get("/api/customers/ann").status_code == 404
    assert bob.get("/api/customers/ann/orders").status_code == 404
    assert bob.get("/api/orders").json()["items"] == []
    assert Order.objects.get().status == "Pending"
    assert tables.log._default_manager.count() == entries


def test_nobody_orders_in_another_customers_name(with_token: WithToken, catalogue: None) -> None:
    assert place(with_token(*SCOPES, customer_id="bob"), "ann").status_code == 404
    assert not Order.objects.exists()


def test_another_shops_staff_sees_nothing(
    with_token: WithToken, other_tenant: Tenant, order_id: str
) -> None:
    other = with_token(*SCOPES, tenant="other")

    assert [other.get(path.format(order_id)).status_code for path in READS] == [404, 404]
    assert other.post(f"/api/orders/{order_id}/cancel").status_code == 404
    assert Order.objects.get().status == "Pending"


def test_two_shops_have_prices_customers_and_keys_of_their_own(
    with_token: WithToken, other_tenant: Tenant, catalogue: None
) -> None:
    here, there = with_token(*SCOPES), with_token(*SCOPES, tenant="other")
    first = place(here, "ann", **{"idempotency-key": "same"})
    second = place(there, "ann", **{"idempotency-key": "same"})

    assert (first.json()["totalAmount"], second.json()["totalAmount"]) == (19.99, 5.0)
    assert sorted(Order.objects.values_list("tenant", flat=True)) == ["main", "other"]


def test_a_key_gives_one_order_with_and_without_the_prefix(
    with_token: WithToken, catalogue: None
) -> None:
    client = with_token(*SCOPES)
    first = place(client, "ann", **{"idempotency-key": "k1"})
    again = place(client, "ann", "/orders", **{"idempotency-key": "k1"})

    assert again.content == first.content
    assert again["Location"] == first["Location"]
    assert Order.objects.count() == 1


def test_a_powerless_token_may_nothing(with_token: WithToken, order_id: str) -> None:
    nobody = with_token()

    assert nobody.get(f"/api/orders/{order_id}").status_code == 403
    assert nobody.post(f"/api/orders/{order_id}/cancel").status_code == 403
    assert nobody.get("/api/products").status_code == 200
