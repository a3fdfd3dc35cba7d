"""The catalogue and the stock over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from ecommerce.identity import tenants
from ecommerce.identity.models import ApiToken, Tenant
from inventory.models import StockItem

pytestmark = pytest.mark.urls("ecommerce.api")

Create = Callable[..., None]
Deliver = Callable[[], None]

SCARF = {
    "productId": "prod-456",
    "name": "Club Scarf",
    "description": "Warm.",
    "price": 19.99,
    "initialStock": 100,
}


@pytest.fixture(autouse=True)
def shop(settings: Settings, transactional_db: None) -> None:
    """The default shop, closed to callers without a credential."""
    settings.SHOP_OPEN = False
    Tenant.objects.get_or_create(slug="main", defaults={"name": "Main shop"})
    tenants.forget()


def with_token(*scopes: str) -> Client:
    _, secret = ApiToken.issue(tenant="main", name="test", scopes=list(scopes))
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def staff() -> Client:
    return with_token("inventory:read", "inventory:write")


def post(client: Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, body, content_type="application/json")


def test_everyone_sees_the_products_and_what_is_available(
    client: Client, create: Create, deliver: Deliver
) -> None:
    create(cap=3)
    create(scarf=10)
    create("other", secret=1)
    deliver()

    body = client.get("/api/products").json()

    assert [item["productId"] for item in body["items"]] == ["scarf", "cap"]
    assert body["next"] is None
    scarf = body["items"][0]
    created_at = scarf.pop("createdAt")
    assert created_at.endswith("Z")
    assert scarf == {
        "productId": "scarf",
        "name": "Scarf",
        "description": "",
        "price": 19.99,
        "currency": "USD",
        "imageUrl": None,
        "active": True,
        "available": 10,
    }
    assert client.get("/api/products/scarf").json() == scarf | {"createdAt": created_at}


def test_products_come_page_by_page(client: Client, create: Create) -> None:
    create(a=1, b=1, c=1)

    first = client.get("/api/products?limit=2").json()
    second = client.get(f"/api/products?limit=2&cursor={first['next']}").json()

    assert [item["productId"] for item in first["items"] + second["items"]] == ["c", "b", "a"]
    assert second["next"] is None


@pytest.mark.parametrize("product_id", ["ghost", "%F0%9F%A6%84", "x" * 300, "' OR 1=1"])
def test_an_unknown_product_is_a_404_whatever_its_form(client: Client, product_id: str) -> None:
    response = client.get(f"/api/products/{product_id}")

    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def test_staff_create_a_product(staff: Client, client: Client) -> None:
    response = post(staff, "/api/products", SCARF)

    assert response.status_code == 201
    assert response["Location"] == "/api/products/prod-456"
    body = response.json()
    assert (body["price"], body["currency"], body["available"]) == (19.99, "USD", 100)
    token = response["X-Consistency-Token"]
    assert token
    assert client.get(response["Location"]).status_code == 200


def test_a_taken_product_id_is_a_409(staff: Client) -> None:
    post(staff, "/api/products", SCARF)

    response = post(staff, "/api/products", SCARF | {"price": 1})

    assert response.status_code == 409
    assert response.json()["code"] == "product-exists"
    assert staff.get("/api/products/prod-456").json()["price"] == 19.99


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": 19.999}, "price"),
        ({"price": -1}, "price"),
        ({"productId": "no/slash"}, "productId"),
        ({"name": ""}, "name"),
        ({"currency": "dollars"}, "currency"),
        ({"initialStock": -1}, "initialStock"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_product_that_cannot_be_is_a_422_that_names_the_field(
    staff: Client, change: dict[str, object], field: str
) -> None:
    response = post(staff, "/api/products", SCARF | change)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert not StockItem.objects.exists()


def test_staff_restock_and_see_the_new_level(
    staff: Client, create: Create, deliver: Deliver
) -> None:
    create(scarf=5)

    response = post(staff, "/api/inventory/scarf/restock", {"quantity": 20})
    deliver()

    assert response.status_code == 200
    assert response.json() == {"productId": "scarf", "quantity": 25, "reserved": 0, "available": 25}
    level = staff.get("/api/inventory/scarf").json()
    assert level.pop("lastUpdated").endswith("Z")
    assert level == {
        "productId": "scarf",
        "quantity": 25,
        "reserved": 0,
        "available": 25,
        "name": "Scarf",
    }


def test_a_restock_that_is_repeated_with_its_key_happens_once(
    staff: Client, create: Create
) -> None:
    create(scarf=5)
    answers = [
        staff.post(
            "/api/inventory/scarf/restock",
            {"quantity": 20},
            content_type="application/json",
            headers={"Idempotency-Key": "delivery-17"},
        ).json()
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert StockItem.objects.get().on_hand == 25


def test_staff_correct_the_count_with_a_reason(staff: Client, create: Create) -> None:
    create(scarf=5)

    counted = post(staff, "/api/inventory/scarf/adjust", {"change": -2, "reason": "recount"})
    too_far = post(staff, "/api/inventory/scarf/adjust", {"change": -4, "reason": "recount"})
    no_change = post(staff, "/api/inventory/scarf/adjust", {"change": 0, "reason": "recount"})

    assert counted.json()["quantity"] == 3
    assert (too_far.status_code, too_far.json()["code"]) == (409, "stock-reserved")
    assert no_change.status_code == 422
    assert StockItem.objects.get().on_hand == 3


@pytest.mark.parametrize("quantity", [0, -5, 1.5, "many", None, 10**7])
def test_a_restock_of_no_quantity_is_a_422(staff: Client, create: Create, quantity: object) -> None:
    create(scarf=5)

    response = post(staff, "/api/inventory/scarf/restock", {"quantity": quantity})

    assert response.status_code == 422
    assert StockItem.objects.get().on_hand == 5


def test_restocking_an_unknown_product_is_a_404(staff: Client) -> None:
    assert post(staff, "/api/inventory/ghost/restock", {"quantity": 1}).status_code == 404


def test_the_low_stock_list_begins_with_the_scarcest(
    staff: Client, create: Create, deliver: Deliver
) -> None:
    create(cap=10, scarf=11, flag=0)
    deliver()

    def low(query: str = "") -> list[str]:
        items = staff.get(f"/api/inventory/low-stock{query}").json()["items"]
        return [item["productId"] for item in items]

    assert low() == ["flag", "cap"]
    assert low("?threshold=11") == ["flag", "cap", "scarf"]
    assert low("?threshold=0") == ["flag"]
    all_levels = staff.get("/api/inventory").json()["items"]
    assert [item["productId"] for item in all_levels] == ["cap", "flag", "scarf"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/inventory"),
        ("GET", "/api/inventory/low-stock"),
        ("GET", "/api/inventory/scarf"),
        ("POST", "/api/products"),
        ("POST", "/api/inventory/scarf/restock"),
        ("POST", "/api/inventory/scarf/adjust"),
    ],
)
def test_the_stock_is_staff_only(client: Client, create: Create, method: str, path: str) -> None:
    create(scarf=5)

    anonymous = client.generic(method, path, "{}", "application/json")
    customer = with_token("orders:read", "orders:write").generic(
        method, path, "{}", "application/json"
    )

    assert (anonymous.status_code, customer.status_code) == (401, 403)
    assert StockItem.objects.get().on_hand == 5
