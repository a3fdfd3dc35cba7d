"""The orders service over HTTP, in its own transactions; no other service answers here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from django.test import Client

from ecommerce.identity.models import ApiToken
from orders.models import CatalogueItem, Fulfilment, Order, tables

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = {
    "street": "123 Main St",
    "city": "Springfield",
    "state": "IL",
    "zipCode": "62701",
    "country": "US",
}
ITEM = {"productId": "prod-456", "quantity": 2, "unitPrice": 19.99}
ORDER = {"customerId": "cust-123", "items": [ITEM], "shippingAddress": ADDRESS}


class Caller:
    """A program with a token that reaches one customer, or all of them."""

    def __init__(self, customer_id: str = "") -> None:
        scopes = ["orders:read", "orders:write"]
        _, self.secret = ApiToken.issue(
            tenant="main", name="tests", scopes=scopes, customer_id=customer_id
        )

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return Client().post(path, raw, "application/json", headers=self._headers(headers))

    def get(self, path: str) -> Any:
        return Client().get(path, headers=self._headers({}))

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}", **headers}


@pytest.fixture
def shop() -> Caller:
    """Staff's program; the catalogue has one product."""
    CatalogueItem.objects.create(
        tenant="main", product_id="prod-456", name="Mouse", price=1999, currency="USD"
    )
    return Caller()


def fields_of(response: Any) -> list[str]:
    assert response["Content-Type"] == "application/problem+json"
    return [error["field"] for error in response.json()["errors"]]


def assert_nothing_stored() -> None:
    assert not Order.objects.exists()
    assert not Fulfilment.objects.exists()
    assert not tables.log._default_manager.exists()


def test_an_order_is_placed(shop: Caller) -> None:
    response = shop.post("/api/orders", ORDER)

    body = response.json()
    order_id = body.pop("orderId")
    created_at = body.pop("createdAt")
    assert response.status_code == 201
    assert response["Location"] == f"/api/orders/{order_id}"
    assert created_at.endswith("Z")
    assert body == {
        "customerId": "cust-123",
        "status": "Pending",
        "items": [
            {
                "lineId": "1",
                "productId": "prod-456",
                "name": "Mouse",
                "quantity": 2,
                "unitPrice": 19.99,
                "lineTotal": 39.98,
            }
        ],
        "totalAmount": 39.98,
        "currency": "USD",
        "totals": {
            "subtotal": 39.98,
            "discount": 0.0,
            "shipping": 0.0,
            "tax": 0.0,
            "total": 39.98,
        },
        "shippingAddress": ADDRESS,
    }
    log = tables.log._default_manager.order_by("position")
    assert [(entry.name, entry.stream) for entry in log] == [
        ("orders.OrderCreated", f"order/{order_id}"),
        ("inventory.ReserveInventory", f"order/{order_id}"),
    ]
    assert Order.objects.get().order_id == Fulfilment.objects.get().order_id == order_id


def test_an_order_needs_no_price_and_no_address(shop: Caller) -> None:
    order = {"customerId": "cust-123", "items": [{"productId": "prod-456", "quantity": 1}]}

    response = shop.post("/api/orders", order)

    assert response.status_code == 201
    assert response.json()["shippingAddress"] is None
    assert response.json()["totalAmount"] == 19.99


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [ITEM] * 101}, "items"),
        ({"items": [{**ITEM, "quantity": 0}]}, "items.0.quantity"),
        ({"items": [{**ITEM, "quantity": 1001}]}, "items.0.quantity"),
        ({"items": [{**ITEM, "quantity": "2"}]}, "items.0.quantity"),
        ({"items": [{**ITEM, "quantity": 1.5}]}, "items.0.quantity"),
        ({"items": [{**ITEM, "quantity": True}]}, "items.0.quantity"),
        ({"items": [{**ITEM, "quantity": 2**70}]}, "items.0.quantity"),
        ({"items": [ITEM, {**ITEM, "productId": "prod-0"}]}, "items.1.productId"),
        ({"items": [{"quantity": 1}]}, "items.0.productId"),
        ({"items": [{**ITEM, "unitPrice": 19.999}]}, "items.0.unitPrice"),
        ({"items": [{**ITEM, "unitPrice": -1}]}, "items.0.unitPrice"),
        ({"items": [{**ITEM, "unitPrice": "19.99"}]}, "items.0.unitPrice"),
        ({"items": [{**ITEM, "colour": "red"}]}, "items.0.colour"),
        ({"items": "prod-456"}, "items"),
        ({"customerId": ""}, "customerId"),
        ({"customerId": "   "}, "customerId"),
        ({"customerId": "c" * 81}, "customerId"),
        ({"customerId": "a\nb"}, "customerId"),
        ({"customerId": "a\0b"}, "customerId"),
        ({"customerId": 7}, "customerId"),
        ({"expectedTotal": 1e30}, "expectedTotal"),
        ({"paymentMethod": ""}, "paymentMethod"),
        ({"shippingAddress": {**ADDRESS, "street": ""}}, "shippingAddress.street"),
        ({"shippingAddress": {**ADDRESS, "street": "a\0b"}}, "shippingAddress.street"),
        ({"shippingAddress": {**ADDRESS, "planet": "Mars"}}, "shippingAddress.planet"),
        ({"total": 1}, "total"),
    ],
)
def test_what_cannot_be_ordered_is_named(shop: Caller, change: dict[str, Any], field: str) -> None:
    response = shop.post("/api/orders", {**ORDER, **change})

    assert response.status_code == 422
    assert fields_of(response) == [field]
    assert_nothing_stored()


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", b"\xff", b"\xed\xa0\x80"])
def test_broken_text_is_refused(shop: Caller, escape: bytes) -> None:
    body = msgspec.json.encode(ORDER).replace(b"cust-123", escape)

    response = shop.post("/api/orders", body)

    assert response.status_code in (400, 422)
    assert_nothing_stored()


def test_a_price_that_has_changed_is_answered_with_the_current_one(shop: Caller) -> None:
    response = shop.post("/api/orders", {**ORDER, "items": [{**ITEM, "unitPrice": 18}]})

    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "price-changed")
    assert problem["items"] == [{"productId": "prod-456", "unitPrice": 19.99}]
    assert (problem["totalAmount"], problem["currency"]) == (39.98, "USD")
    assert_nothing_stored()


def test_an_expected_total_that_differs_is_refused(shop: Caller) -> None:
    response = shop.post("/api/orders", {**ORDER, "expectedTotal": 39.97})

    assert (response.status_code, response.json()["code"]) == (409, "price-changed")
    assert_nothing_stored()


def test_the_same_key_places_one_order(shop: Caller) -> None:
    first = shop.post("/api/orders", ORDER, **{"Idempotency-Key": "k1"})
    again = shop.post("/api/orders", ORDER, **{"Idempotency-Key": "k1"})
    other = shop.post("/api/orders", {**ORDER, "customerId": "cust-9"}, **{"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.json() == first.json()
    assert again["Location"] == first["Location"]
    assert Order.objects.count() == 1


def test_a_waiting_order_is_cancelled_once(shop: Caller) -> None:
    order_id = shop.post("/api/orders", ORDER).json()["orderId"]

    response = shop.post(f"/api/orders/{order_id}/cancel")
    again = shop.post(f"/api/orders/{order_id}/cancel")

    assert (response.status_code, response.json()["status"]) == (200, "Cancelled")
    assert (again.status_code, again.json()["code"]) == (409, "already-cancelled")
    assert Fulfilment.objects.get().step == "closed"


def test_the_history_tells_what_happened_to_those_who_may_see_the_order(shop: Caller) -> None:
    order_id = shop.post("/api/orders", ORDER).json()["orderId"]
    shop.post(f"/api/orders/{order_id}/cancel")

    response = shop.get(f"/api/orders/{order_id}/history")

    body = response.json()
    created, cancelled = body["items"]
    assert (response.status_code, body["orderId"]) == (200, order_id)
    assert (created["version"], created["event"]) == (1, "OrderCreated")
    assert (cancelled["version"], cancelled["event"]) == (2, "OrderCancelled")
    assert created["actor"].startswith("token:")
    assert created["recordedAt"].endswith("Z")
    assert created["fields"]["items"][0]["unitPrice"] == 19.99
    assert created["fields"]["totals"]["total"] == 39.98
    assert created["fields"]["shippingAddress"] == ADDRESS
    assert cancelled["fields"]["reason"] == "customer_request"


def test_a_customer_reaches_their_own_orders_only(shop: Caller) -> None:
    mine, theirs = Caller("cust-123"), Caller("cust-9")
    order_id = mine.post("/api/orders", ORDER).json()["orderId"]

    assert theirs.post("/api/orders", ORDER).status_code == 404
    assert theirs.post(f"/api/orders/{order_id}/cancel").status_code == 404
    assert theirs.get(f"/api/orders/{order_id}/history").status_code == 404
    assert Order.objects.get().status == "Pending"
    assert mine.get(f"/api/orders/{order_id}/history").status_code == 200


@pytest.mark.parametrize("order_id", ["none", "0", "a b", "%00", "x" * 300])
def test_an_order_that_does_not_exist_is_not_found(shop: Caller, order_id: str) -> None:
    assert shop.post(f"/api/orders/{order_id}/cancel").status_code == 404
    assert shop.get(f"/api/orders/{order_id}/history").status_code == 404
