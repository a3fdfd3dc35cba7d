"""Customers and orders over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from customers.models import Customer
from ecommerce.identity.models import Tenant
from orders.models import Order
from tests.customers import examples
from tests.customers.examples import LOCAL, created
from tests.projecting import NOW

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("ecommerce.api")]

Hear = Callable[..., None]
SignIn = Callable[..., Client]

PLACED: dict[str, Any] = {
    "orderId": "o1",
    "customerId": "cust-123",
    "status": "Pending",
    "cancelReason": None,
    "totalAmount": 89.48,
    "currency": "USD",
    "totals": {"subtotal": 89.48, "discount": 0, "shipping": 0, "tax": 0, "total": 89.48},
    "itemCount": 2,
    "items": [
        {
            "lineId": "1",
            "productId": "prod-456",
            "name": "Mouse",
            "quantity": 2,
            "unitPrice": 19.99,
            "lineTotal": 39.98,
        },
        {
            "lineId": "2",
            "productId": "prod-789",
            "name": "Keyboard",
            "quantity": 1,
            "unitPrice": 49.50,
            "lineTotal": 49.50,
        },
    ],
    "shippingAddress": {
        "street": "123 Main St",
        "city": "Springfield",
        "state": "IL",
        "zipCode": "62701",
        "country": "US",
    },
    "createdAt": "2026-03-01T23:30:00Z",
    "paymentInfo": None,
    "shipmentInfo": None,
}


@pytest.fixture
def staff(signed_in: SignIn) -> Client:
    return signed_in("orders:read", "customers:read")


@pytest.fixture
def ada(signed_in: SignIn) -> Client:
    return signed_in("orders:read", "customers:read", customer_id="cust-123")


@pytest.mark.parametrize("address", ["/customers/cust-123", "/api/customers/cust-123"])
def test_a_customer_is_what_their_orders_add_up_to(
    address: str, staff: Client, heard: Hear
) -> None:
    # given
    heard(created(), created("o2", total=1999, at=LOCAL + timedelta(hours=1)))
    # when
    response = staff.get(address)
    # then
    assert response.json() == {
        "customerId": "cust-123",
        "totalOrders": 2,
        "totalSpent": 109.47,
        "currency": "USD",
        "lastOrderId": "o2",
        "lastOrderAt": "2026-03-02T00:30:00Z",
        "firstOrderAt": "2026-03-01T23:30:00Z",
    }
    assert b'"totalSpent":109.47' in response.content


def test_a_customer_who_has_not_ordered_has_an_empty_activity(staff: Client) -> None:
    # given
    Customer.objects.create(
        tenant="main", customer_id="cust-5", guest=False, email="a@b.c", registered_at=NOW
    )
    # then
    assert staff.get("/api/customers/cust-5").json() == {
        "customerId": "cust-5",
        "totalOrders": 0,
        "totalSpent": 0,
        "currency": "USD",
        "lastOrderId": None,
        "lastOrderAt": None,
        "firstOrderAt": None,
    }
    assert staff.get("/api/customers/cust-5/orders").json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    "address", ["/api/customers/x", "/api/customers/x/orders", "/api/orders/x"]
)
def test_what_is_unknown_is_not_found(address: str, staff: Client) -> None:
    response = staff.get(address)
    assert response.status_code == 404
    assert response.json()["code"] == "not-found"


def test_an_order_is_shown_with_its_payment_and_shipment(staff: Client, heard: Hear) -> None:
    # given
    heard(created(), examples.processed(), examples.shipment())
    # then
    assert staff.get("/api/orders/o1").json() == PLACED | {
        "paymentInfo": {
            "paymentId": "pay-o1",
            "status": "Captured",
            "processedAt": "2026-03-01T23:30:00Z",
            "transactionId": "txn-1",
        },
        "shipmentInfo": {
            "shipmentId": "shp-o1",
            "status": "Created",
            "carrier": "SwiftParcel",
            "trackingNumber": "T1",
            "estimatedDelivery": "2026-03-05",
            "actualDelivery": None,
        },
    }


@pytest.mark.parametrize("only_payment_heard", [False, True])
def test_an_order_is_found_before_it_was_projected(
    only_payment_heard: bool, staff: Client, ada: Client, heard: Hear
) -> None:
    # given
    order = Order(tenant="main")
    order.record(created())
    order.save()
    if only_payment_heard:
        heard(examples.processed())
    # then
    assert staff.get("/api/orders/o1").json() == PLACED
    assert ada.get("/api/orders/o1").json() == PLACED


def test_a_customers_orders_come_newest_first_page_by_page(staff: Client, heard: Hear) -> None:
    # given
    heard(
        *(created(f"o{i}", at=LOCAL + timedelta(minutes=i)) for i in range(3)),
        created("theirs", customer_id="cust-9"),
    )
    # when
    first = staff.get("/api/customers/cust-123/orders?limit=2").json()
    second = staff.get(f"/api/customers/cust-123/orders?limit=2&cursor={first['next']}").json()
    # then
    assert [item["orderId"] for item in first["items"]] == ["o2", "o1"]
    assert [item["orderId"] for item in second["items"]] == ["o0"]
    assert second["next"] is None


def test_staff_list_all_orders_with_filters(staff: Client, heard: Hear) -> None:
    # given
    order = created("o1")
    heard(order, examples.cancelled(order), created("o2", customer_id="cust-9"))

    # when
    def found(query: str) -> list[str]:
        return [item["orderId"] for item in staff.get(f"/api/orders{query}").json()["items"]]

    # then
    assert sorted(found("")) == ["o1", "o2"]
    assert found("?status=Cancelled") == ["o1"]
    assert found("?customerId=cust-9") == ["o2"]
    assert found("?customerId=cust-9&status=Cancelled") == []


@pytest.mark.parametrize("query", ["status=Lost", "limit=0", "limit=101", "cursor=x"])
def test_a_filter_that_makes_no_sense_is_refused(query: str, staff: Client, heard: Hear) -> None:
    heard(created())
    response = staff.get(f"/api/orders?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == query.partition("=")[0]


def test_a_customer_sees_only_their_own_things(ada: Client, heard: Hear) -> None:
    # given
    heard(created(), created("theirs", customer_id="cust-9"))
    # then
    assert ada.get("/api/orders/o1").status_code == 200
    assert ada.get("/api/customers/cust-123").status_code == 200
    assert ada.get("/api/orders/theirs").status_code == 404
    assert ada.get("/api/customers/cust-9").status_code == 404
    assert ada.get("/api/customers/cust-9/orders").status_code == 404
    assert [item["orderId"] for item in ada.get("/api/orders").json()["items"]] == ["o1"]
    assert ada.get("/api/orders?customerId=cust-9").json()["items"] == []


def test_a_customer_does_not_see_anothers_order_that_was_not_projected_yet(ada: Client) -> None:
    # given
    order = Order(tenant="main")
    order.record(created("theirs", customer_id="cust-9"))
    order.save()
    # then
    assert ada.get("/api/orders/theirs").status_code == 404


def test_another_tenant_sees_nothing(signed_in: SignIn, heard: Hear) -> None:
    # given
    heard(created())
    Tenant.objects.create(slug="other", name="Other shop")
    stranger = signed_in("orders:read", "customers:read", tenant="other")
    # then
    assert stranger.get("/api/orders/o1").status_code == 404
    assert stranger.get("/api/customers/cust-123").status_code == 404
    assert stranger.get("/api/orders").json()["items"] == []


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("/api/orders/o1", "customers:read"),
        ("/api/orders", "customers:read"),
        ("/api/customers/cust-123/orders", "customers:read"),
        ("/api/customers/cust-123", "orders:read"),
    ],
)
def test_a_caller_without_the_scope_is_refused(
    address: str, scope: str, signed_in: SignIn, heard: Hear
) -> None:
    heard(created())
    assert signed_in(scope).get(address).status_code == 403
