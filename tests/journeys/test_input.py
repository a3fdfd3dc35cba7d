"""What the shop takes from a client, what it refuses, and what it answers twice."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from ecommerce.messaging.models import uuid7
from orders.models import Order, tables
from tests.journeys.audit import settle
from tests.journeys.conftest import BackgroundWorker
from tests.journeys.shop import JACKET, SCARF, Document, Shop

pytestmark = pytest.mark.django_db(transaction=True)

LINE = {"productId": SCARF, "quantity": 1}


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """A problem document, and nothing stored."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not Order.objects.exists()
    assert not tables.log._default_manager.exclude(name="orders.Pinged").exists()
    document: dict[str, Any] = answer.json()
    return document


# Prices


def test_a_price_that_has_changed_is_told(shop: Shop) -> None:
    answer = shop.http.post(
        "/api/orders",
        json={"customerId": "cust-123", "items": [LINE | {"unitPrice": 18.99}]},
    )

    problem = assert_problem(answer, 409, "price-changed")
    assert problem["items"] == [{"productId": SCARF, "unitPrice": 19.99}]
    assert (problem["totalAmount"], problem["currency"]) == (19.99, "USD")


def test_a_total_that_has_changed_is_told(shop: Shop) -> None:
    answer = shop.place({SCARF: 2, JACKET: 1}, expectedTotal=100)

    assert assert_problem(answer, 409, "price-changed")["totalAmount"] == 114.97


def test_prices_that_are_right_are_taken(shop: Shop) -> None:
    line = LINE | {"unitPrice": 19.99}
    body = {"customerId": "cust-123", "items": [line], "expectedTotal": 19.99}

    answer = shop.http.post("/orders", json=body)

    assert answer.status_code == 201
    assert answer.json()["totals"] == {
        "subtotal": 19.99,
        "discount": 0,
        "shipping": 0,
        "tax": 0,
        "total": 19.99,
    }


# Bad input

BAD: dict[str, tuple[Document, str]] = {
    "no items": ({"items": []}, "items"),
    "no customer": ({"customerId": ""}, "customerId"),
    "a quantity of nothing": ({"items": [LINE | {"quantity": 0}]}, "items.0.quantity"),
    "a negative quantity": ({"items": [LINE, LINE | {"quantity": -1}]}, "items.1.quantity"),
    "half a unit": ({"items": [LINE | {"quantity": 1.5}]}, "items.0.quantity"),
    "a quantity in words": ({"items": [LINE | {"quantity": "two"}]}, "items.0.quantity"),
    "more lines than we take": ({"items": [LINE] * 101}, "items"),
    "a negative price": ({"items": [LINE | {"unitPrice": -19.99}]}, "items.0.unitPrice"),
    "an unknown field": ({"items": [LINE | {"colour": "red"}]}, "items.0.colour"),
    "items that are none": ({"items": "two scarves"}, "items"),
}


def test_bad_input_is_refused_by_name(shop: Shop) -> None:
    for name, (change, field) in BAD.items():
        body: Document = {"customerId": "cust-123", "items": [LINE]} | change

        problem = assert_problem(shop.http.post("/orders", json=body), 422, "invalid")

        assert [error["field"] for error in problem["errors"]] == [field], name


def test_what_nobody_sells_is_refused_by_name(shop: Shop) -> None:
    problem = assert_problem(shop.place({SCARF: 1, "prod-000": 1}), 422, "unknown-product")

    assert [error["field"] for error in problem["errors"]] == ["items.1.productId"]


def test_what_is_no_order_is_refused(shop: Shop) -> None:
    for text in ("", "{", "null", "[]", '"order"', "\x00", '{"customerId": 1e999}'):
        headers = {"Content-Type": "application/json"}
        answer = shop.http.post("/orders", content=text, headers=headers)

        assert answer.status_code in (400, 422), (text, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert not Order.objects.exists()


# Idempotency


def test_the_same_request_twice_gets_the_same_answer(shop: Shop) -> None:
    first, second = (shop.place(key="key-1") for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert Order.objects.count() == 1


def test_the_same_request_many_times_at_once_places_one_order(shop: Shop) -> None:
    # when
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shop.place(key="key-1"), range(16)))
    # then
    placed = [answer for answer in answers if answer.status_code == 201]
    others = [answer for answer in answers if answer.status_code != 201]
    assert len({answer.json()["orderId"] for answer in placed}) == 1
    assert {answer.json()["code"] for answer in others} <= {"idempotency-key-in-use"}
    assert {answer.status_code for answer in others} <= {409}
    assert Order.objects.count() == 1


def test_a_key_is_for_one_request_only(shop: Shop) -> None:
    shop.order(key="key-1")

    answer = shop.place({SCARF: 3}, key="key-1")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
    assert Order.objects.count() == 1


def test_a_refused_request_leaves_its_key_free(shop: Shop) -> None:
    assert shop.place(expectedTotal=1, key="key-1").status_code == 409

    assert shop.place(expectedTotal=39.98, key="key-1").status_code == 201


def test_cancelling_twice_with_one_key_answers_twice(shop: Shop) -> None:
    order_id = shop.order()
    path, headers = f"/api/orders/{order_id}/cancel", {"Idempotency-Key": "key-1"}

    first, second = (shop.http.post(path, headers=headers) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()
    assert shop.events(order_id).count("OrderCancelled") == 1


# Reading

UNKNOWN = [
    "prod-000",
    "1",
    "-1",
    "0",
    "null",
    str(uuid.uuid4()),
    str(uuid7()),
    "00000000-0000-0000-0000-000000000000",
    "a" * 300,
    "%27%20OR%201=1",
    "%00",
    "%FF",
    "..%2F..%2Fetc",
    "Ωmega",
    "a%20b",
]
PATHS = [
    "/api/orders/{}",
    "/api/orders/{}/history",
    "/api/customers/{}",
    "/api/customers/{}/orders",
    "/customers/{}/orders",
    "/api/products/{}",
    "/api/inventory/{}",
]


def test_an_unknown_id_of_any_form_is_not_found(shop: Shop) -> None:
    for path in PATHS:
        for unknown in UNKNOWN:
            answer = shop.http.get(path.format(unknown))
            assert answer.status_code == 404, (path, unknown, answer.text)
            kind = answer.headers["Content-Type"]
            assert kind == "application/problem+json" or not path.startswith("/api"), answer.url
    for unknown in UNKNOWN:
        assert shop.cancel(unknown).status_code == 404


def test_the_address_of_a_new_order_answers_at_once(shop: Shop) -> None:
    # given no worker at all
    answer = shop.place()

    document = shop.get(answer.headers["Location"])

    assert document["orderId"] == answer.json()["orderId"]
    assert (document["status"], document["totalAmount"]) == ("Pending", 39.98)


def test_a_read_that_waits_shows_what_was_written(shop: Shop, worker: BackgroundWorker) -> None:
    for number in range(1, 11):
        token = shop.place().headers["X-Consistency-Token"]

        answer = shop.http.get("/api/customers/cust-123/orders", params={"waitFor": token})

        assert len(answer.json()["items"]) == number
        assert "X-Consistency" not in answer.headers


def test_a_read_waits_for_a_cancellation(shop: Shop, worker: BackgroundWorker) -> None:
    answer = shop.place()
    cancelled = shop.cancel(answer.json()["orderId"])
    if cancelled.status_code == 409:  # it was too late
        return
    token = cancelled.headers["X-Consistency-Token"]

    seen = shop.get(answer.headers["Location"], waitFor=token)

    assert seen["status"] in ("Cancelling", "Cancelled")


def test_a_read_does_not_wait_for_ever(shop: Shop) -> None:
    # given nobody works
    token = shop.place().headers["X-Consistency-Token"]

    answer = shop.http.get("/api/customers/cust-123/orders", params={"waitFor": token})

    assert (answer.status_code, answer.headers["X-Consistency"]) == (200, "stale")
    assert answer.json()["items"] == []
    settle()
    assert len(shop.get("/api/customers/cust-123/orders")["items"]) == 1


def test_what_is_no_token_is_refused(shop: Shop) -> None:
    for token in ("x", "!", "e30", "a" * 3000, "\x00"):
        answer = shop.http.get("/api/customers/cust-123/orders", params={"waitFor": token})

        assert answer.status_code == 422, token
        assert answer.headers["Content-Type"] == "application/problem+json"
