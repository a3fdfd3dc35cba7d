"""Every way to be refused has the same form."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from django.test import Client
from pytest_django.fixtures import Settings

pytestmark = [pytest.mark.urls("tests.web.shop"), pytest.mark.django_db]
WithToken = Callable[..., Client]


def problem_of(response: Any) -> dict[str, Any]:
    """The problem document, checked for what all of them have."""
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    assert document["status"] == response.status_code
    assert document["type"] == f"/problems/{document['code']}"
    assert document["title"]
    assert document["detail"]
    assert document["correlationId"] == response["X-Correlation-ID"]
    return document


def post(client: Client, body: object) -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/api/things", text, content_type="application/json")


def thing(**changes: object) -> dict[str, object]:
    line = {"productId": "prod-1", "unitPrice": 1}
    return {"customerId": "cust-1", "items": [line], **changes}


@pytest.fixture
def writer(with_token: WithToken) -> Client:
    return with_token("orders:write", "orders:read")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": [{"productId": "p", "unitPrice": 1}]}, "customerId"),
        (thing(items=[]), "items"),
        (thing(items=[{"productId": "p", "unitPrice": 1}, {"unitPrice": 1}]), "items.1.productId"),
        (thing(items=[{"productId": "p", "unitPrice": "1"}]), "items.0.unitPrice"),
        (thing(items=[{"productId": "p", "unitPrice": 1.005}]), "items.0.unitPrice"),
        (thing(items=[{"productId": "p", "unitPrice": -1}]), "items.0.unitPrice"),
        (thing(items=[{"productId": "p", "unitPrice": True}]), "items.0.unitPrice"),
        (thing(items=[{"productId": "p", "unitPrice": 1e300}]), "items.0.unitPrice"),
        (thing(items=[{"productId": "a/b", "unitPrice": 1}]), "items.0.productId"),
        (thing(surprise=1), "surprise"),
        (thing(customerId="a\0b"), "customerId"),
        (thing(**{"sur\0prise": 1}), "surprise"),
        (thing(customerId=7), "customerId"),
        ([], "body"),
        ("null", "body"),
        ('{"customerId": "c", "items": [{"productId": "p", "unitPrice": 1e999999}]}', "items.0.unitPrice"),
    ],
)  # fmt: skip
def test_a_field_is_named_as_the_client_wrote_it(writer: Client, body: object, field: str) -> None:
    document = problem_of(response := post(writer, body))

    assert response.status_code == 422
    assert [error["field"] for error in document["errors"]] == [field]
    assert all(error["detail"] for error in document["errors"])


def test_a_missing_body_is_named(writer: Client) -> None:
    document = problem_of(post(writer, ""))

    assert (document["status"], document["errors"][0]["field"]) == (422, "body")


@pytest.mark.parametrize(
    "body", ["{", "{'a': 1}", "NaN", '{"a": NaN}', b'"\xff"', '"\\ud800"', "[" * 100_000, "a=1&b=2"]
)
def test_what_is_not_json_is_a_bad_request(writer: Client, body: str | bytes) -> None:
    document = problem_of(response := post(writer, body))

    assert (response.status_code, document["code"]) == (400, "malformed-json")


def test_a_refusal_brings_its_own_members(client: Client) -> None:
    document = problem_of(response := client.get("/api/fails/price"))

    assert response.status_code == 409
    assert (document["code"], document["currentPrice"]) == ("price-changed", 1999)
    assert document["detail"] == "the price changed"


@pytest.mark.parametrize(
    "address",
    ["/api", "/api/", "/api/nowhere", "/api/things/", "/api/things/a/b/c", "/api/things/%00",
     "/api/number/abc", "/api/number/99999999999999999999x", "/api/number/%F0%9F%98%80"],
)  # fmt: skip
def test_an_address_that_does_not_exist_is_a_404(writer: Client, address: str) -> None:
    assert problem_of(writer.get(address))["status"] == 404


@pytest.mark.parametrize("thing_id", ["%FF", "%ED%A0%80", "..", "a" * 4000, "%27;DROP", "%20"])
def test_an_id_of_any_form_is_only_an_id(writer: Client, thing_id: str) -> None:
    assert writer.get(f"/api/things/{thing_id}").status_code in {200, 404}


def test_a_method_that_is_not_allowed_names_those_that_are(writer: Client) -> None:
    document = problem_of(response := writer.put("/api/things/cust-1"))

    assert (response.status_code, document["code"]) == (405, "method-not-allowed")
    assert {method.strip() for method in response["Allow"].split(",")} == {"GET", "DELETE"}


def test_a_body_that_is_too_large_is_a_413(writer: Client, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    assert problem_of(post(writer, "x" * 101))["status"] == 413


def test_a_nul_in_a_query_is_named(client: Client) -> None:
    document = problem_of(response := client.get("/api/tokens?createdBy=%00"))

    assert (response.status_code, document["errors"][0]["field"]) == (422, "createdBy")


def test_a_bug_is_logged_and_shown_without_internals(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        document = problem_of(response := client.get("/api/fails/bug"))

    assert (response.status_code, document["code"]) == (500, "internal")
    assert "swordfish" not in response.content.decode()
    assert "the secret is swordfish" in caplog.text


def test_a_bug_is_shown_without_internals_even_while_debugging(
    client: Client, settings: Settings
) -> None:
    settings.DEBUG = True

    assert "swordfish" not in client.get("/api/fails/bug").content.decode()


def test_an_absent_database_is_worth_another_try(client: Client) -> None:
    document = problem_of(response := client.get("/api/fails/away"))

    assert (response.status_code, document["code"]) == (503, "unavailable")
    assert response["Retry-After"] == "1"
    assert "10.0.0.1" not in response.content.decode()


def test_a_host_that_is_not_ours_gets_a_problem_document() -> None:
    response = Client(headers={"host": "evil.example"}).get("/api/who")

    assert problem_of(response)["status"] == 400


def test_pages_keep_their_own_errors(client: Client) -> None:
    response = client.get("/nowhere")

    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


# Correlation


@pytest.mark.parametrize(
    ("sent", "comes_back"),
    [
        ("0192a6e2-7b5a-7c3e-9d5e-0f6f6f6f6f6f", True),
        ("cart-17/step.2", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("two words", False),
        ("<script>", False),
        ("", False),
    ],
)
def test_a_correlation_id_comes_back_if_it_is_safe(
    client: Client, sent: str, comes_back: bool
) -> None:
    response = client.get("/api/who", headers={"x-correlation-id": sent})

    assert (response["X-Correlation-ID"] == sent) == comes_back
    assert len(response.json()["correlationId"]) == 36


def test_the_same_text_is_always_the_same_id_in_messages(client: Client) -> None:
    first, second = (
        client.get("/api/who", headers={"x-correlation-id": "cart-17"}).json() for _ in range(2)
    )

    assert first["correlationId"] == second["correlationId"]


def test_pages_have_a_correlation_id_too(client: Client) -> None:
    assert len(client.get("/page")["X-Correlation-ID"]) == 36


def test_the_log_knows_the_request_while_it_lasts(client: Client) -> None:
    said = client.get("/api/log", headers={"x-correlation-id": "cart-17"}).json()

    assert set(said) == {"correlation_id", "tenant", "actor"}
    assert (said["tenant"], said["actor"]) == ("main", "anonymous")
    assert structlog.contextvars.get_contextvars() == {}
