"""Who gets in, tried by those who may not. The shop is closed, as in production."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from ecommerce.identity.models import ApiToken, Tenant, User

pytestmark = [pytest.mark.urls("tests.web.shop"), pytest.mark.django_db]

THING = {"customerId": "cust-1", "items": [{"productId": "prod-1", "unitPrice": 19.99}]}
WithToken = Callable[..., Client]


def make_thing(client: Client, headers: dict[str, str] | None = None) -> Any:
    return client.post("/api/things", THING, content_type="application/json", headers=headers)


def test_without_a_credential_an_operation_is_refused_before_its_body_is_read(
    client: Client,
) -> None:
    response = client.post("/api/things", "{broken", content_type="application/json")

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer nonsense", "Bearer shop_", "Bearer shop_abcdefghjkmn_wrong",
     "Basic dXNlcjpwYXNz", "shop_abcdefghjkmn_wrong", "Bearer shop_\x7fbcdefghjkmn_x"],
)  # fmt: skip
def test_a_credential_that_is_not_valid_is_refused_even_where_everyone_may(header: str) -> None:
    response = Client(headers={"authorization": header}).get("/api/who")

    assert response.status_code == 401


def test_the_right_scope_opens_an_operation(with_token: WithToken) -> None:
    response = make_thing(with_token("orders:write"))

    assert response.status_code == 201
    assert response.json() == {"customerId": "cust-1", "totalAmount": 19.99}


def test_any_one_of_the_scopes_of_a_rule_is_enough(with_token: WithToken) -> None:
    assert with_token("orders:read").get("/api/things/cust-1").status_code == 200
    assert with_token("operations").get("/api/things/cust-1").status_code == 200


def test_the_wrong_scope_is_forbidden_and_the_answer_names_the_right_one(
    with_token: WithToken,
) -> None:
    response = make_thing(with_token("orders:read", "inventory:write"))

    assert response.status_code == 403
    assert response.json()["scopes"] == ["orders:write"]


def test_a_revoked_token_is_refused(with_token: WithToken) -> None:
    client = with_token("orders:read")
    ApiToken.objects.get().revoke()

    assert client.get("/api/things/cust-1").status_code == 401


def test_an_expired_token_is_refused(with_token: WithToken) -> None:
    client = with_token("orders:read", expires_at=datetime(2020, 1, 1, tzinfo=UTC))

    assert client.get("/api/things/cust-1").status_code == 401


def test_the_token_of_a_closed_tenant_is_refused(with_token: WithToken, tenant: Tenant) -> None:
    client = with_token("orders:read")
    tenant.active = False
    tenant.save()

    assert client.get("/api/things/cust-1").status_code == 401


def test_a_customers_token_reaches_their_own_things_only(with_token: WithToken) -> None:
    client = with_token("orders:read", "orders:write", "inventory:write", customer_id="cust-1")

    assert client.get("/api/things/cust-1").status_code == 200
    assert client.get("/api/things/cust-2").status_code == 404
    assert client.get("/api/who").json()["scopes"] == ["orders:read", "orders:write"]


def test_somebody_elses_thing_looks_like_one_that_does_not_exist(with_token: WithToken) -> None:
    theirs = with_token("orders:read", customer_id="cust-1").get("/api/things/cust-2").json()

    assert "cust-2" not in str(theirs)
    assert theirs["code"] == "not-found"


def test_the_tenant_comes_from_the_token_whatever_the_header_says(
    with_token: WithToken, other_tenant: Tenant
) -> None:
    client = with_token("orders:read", tenant="other")

    assert client.get("/api/who").json()["tenant"] == "other"
    assert client.get("/api/who", headers={"x-tenant": "main"}).json()["tenant"] == "other"


def test_a_stranger_cannot_choose_a_tenant(client: Client, other_tenant: Tenant) -> None:
    who = client.get("/api/who", headers={"x-tenant": "other"}).json()

    assert (who["tenant"], who["actor"], who["scopes"]) == ("main", "anonymous", [])


# Sessions


@pytest.fixture
def shopper(tenant: Tenant) -> User:
    return User.objects.create_user("ann", password="-", customer_id="cust-1", tenant=tenant)


def test_a_signed_in_customer_has_their_own_things(client: Client, shopper: User) -> None:
    client.force_login(shopper)

    assert client.get("/api/things/cust-1").status_code == 200
    assert client.get("/api/things/cust-2").status_code == 404
    assert client.get("/api/who").json()["actor"] == f"user:{shopper.pk}"


def test_a_person_without_a_customer_or_a_role_may_nothing(client: Client, tenant: Tenant) -> None:
    client.force_login(User.objects.create_user("nobody", password="-", tenant=tenant))

    assert client.get("/api/things/cust-1").status_code == 403


def test_staff_may_everything_but_operations(client: Client, tenant: Tenant) -> None:
    client.force_login(User.objects.create_user("sam", password="-", is_staff=True, tenant=tenant))

    assert client.get("/api/things/cust-2").status_code == 200
    assert client.delete("/api/things/cust-2").status_code == 403


def test_a_superuser_may_everything(client: Client, tenant: Tenant) -> None:
    client.force_login(User.objects.create_superuser("root", password="-", tenant=tenant))

    assert client.delete("/api/things/cust-2").status_code == 204


def test_a_write_with_a_session_needs_the_csrf_token(shopper: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(shopper)

    refused = make_thing(client)
    client.cookies["csrftoken"] = "a" * 32
    allowed = make_thing(client, headers={"x-csrftoken": "a" * 32})

    assert (refused.status_code, refused.json()["code"]) == (403, "csrf-failed")
    assert allowed.status_code == 201


def test_a_write_with_a_token_needs_no_csrf_token(with_token: WithToken) -> None:
    client = with_token("orders:write")
    client.handler.enforce_csrf_checks = True

    assert make_thing(client).status_code == 201


def test_a_person_of_a_closed_tenant_is_nobody(client: Client, shopper: User) -> None:
    client.force_login(shopper)
    shopper.tenant.active = False
    shopper.tenant.save()

    assert client.get("/api/things/cust-1").status_code == 401


# Development


def test_an_open_shop_takes_everyone_on_this_machine(open_shop: None, client: Client) -> None:
    who = client.get("/api/who").json()

    assert (who["actor"], who["tenant"]) == ("development", "main")
    assert "operations" in who["scopes"]


@pytest.mark.parametrize("address", ["10.0.0.7", "", "not-an-address", "::ffff:10.0.0.7"])
def test_an_open_shop_is_closed_to_other_machines(open_shop: None, address: str) -> None:
    assert Client(REMOTE_ADDR=address).get("/api/things/cust-1").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "10.0.0.7"},
        {"forwarded": "for=10.0.0.7"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_an_open_shop_is_closed_to_proxies_and_to_pages_of_other_sites(
    open_shop: None, client: Client, headers: dict[str, str]
) -> None:
    assert client.get("/api/things/cust-1", headers=headers).status_code == 401


def test_in_an_open_shop_a_header_chooses_the_tenant(
    open_shop: None, client: Client, other_tenant: Tenant
) -> None:
    assert client.get("/api/who", headers={"x-tenant": "other"}).json()["tenant"] == "other"


def test_an_open_shop_knows_its_tenants(open_shop: None, client: Client, tenant: Tenant) -> None:
    response = client.get("/api/who", headers={"x-tenant": "nobody"})

    assert (response.status_code, response.json()["code"]) == (404, "unknown-tenant")


def test_a_closed_shop_does_not_look_at_the_address(client: Client) -> None:
    assert client.get("/api/things/cust-1").status_code == 401
