"""Two shops under one roof, with the same customers and the same products, never meet."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from django.core.management import call_command
from pytest_django.live_server_helper import LiveServer

from ecommerce.api import api
from ecommerce.identity import tenants
from ecommerce.identity.models import ApiToken, Tenant
from ecommerce.web.access import access_table
from notifications.queries import mailbox
from payments.models import Payment
from shipping.models import Shipment
from tests.journeys.apart import in_both_forms
from tests.journeys.audit import settle
from tests.journeys.shop import JACKET, SCARF, Shop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other(shop: Shop, live_server: LiveServer) -> Iterator[Shop]:
    """Another shop with the same catalogue."""
    Tenant.objects.create(slug="other", name="Other shop", time_zone="Asia/Tokyo")
    tenants.forget()
    call_command("seed", tenant="other", verbosity=0)
    settle()
    headers = {"X-Tenant": "other"}
    with httpx.Client(base_url=live_server.url, headers=headers, trust_env=False) as http:
        yield Shop(http)


@in_both_forms
def test_two_shops_with_the_same_names_do_not_meet(shop: Shop, other: Shop) -> None:
    # given both have ordered the same product for the same customer
    ours = shop.order({SCARF: 2})
    theirs = other.order({SCARF: 5})
    lost = other.order({SCARF: 96})
    keyed = [each.order({JACKET: 1}, key="same-key") for each in (shop, other)]
    # when
    settle()
    # then each has its own
    assert (shop.status(ours), other.status(theirs)) == ("Shipped", "Shipped")
    assert other.status(lost) == "Cancelled"
    assert shop.stock() == {"quantity": 98, "reserved": 0, "available": 98}
    assert other.stock() == {"quantity": 95, "reserved": 0, "available": 95}
    assert keyed[0] != keyed[1]
    seen = {each["orderId"] for each in shop.get("/api/customers/cust-123/orders")["items"]}
    assert seen == {ours, keyed[0]}
    assert shop.get("/api/customers/cust-123")["totalOrders"] == 2
    assert other.get("/api/customers/cust-123")["totalSpent"] == 5 * 19.99 + 74.99
    figures = [each.get("/api/analytics/sales/daily")["items"] for each in (shop, other)]
    assert [sum(day["totalItemsSold"] for day in days) for days in figures] == [3, 6]
    top = other.get("/api/analytics/products/top")["items"]
    assert {each["productId"]: each["unitsSold"] for each in top} == {SCARF: 5, JACKET: 1}
    assert (len(mailbox("main")), len(mailbox("other"))) == (6, 7)
    for model in (Payment, Shipment):
        assert model.objects.filter(tenant="main").count() == 2
        assert model.objects.filter(tenant="other").count() == 2
    # and the other's things do not exist
    assert_nothing_of(ours, other)
    assert_nothing_of(theirs, shop)


def assert_nothing_of(order_id: str, shop: Shop) -> None:
    """No operation of a shop knows another shop's order, or tells of it."""
    ids = {"customer_id": "cust-123", "product_id": SCARF}
    for operation in access_table(api):
        path = re.sub(r"{(\w+)}", lambda name: ids.get(name[1], order_id), operation.path)
        if "{order_id}" in operation.path:
            answer = shop.http.request(operation.method, path, json={})
            assert answer.status_code in (404, 422), operation
        elif operation.method == "GET":
            answer = shop.http.get(path)
            assert answer.status_code in (200, 404, 422), (operation, answer.text)
        else:
            continue
        if order_id not in path:  # a refusal may name what it was asked for
            assert order_id not in answer.text, operation


def test_a_token_decides_the_shop(shop: Shop, other: Shop, live_server: LiveServer) -> None:
    # given
    ours = shop.order()
    _, secret = ApiToken.issue(tenant="other", name="test", scopes=["orders:read"])
    headers = {"Authorization": f"Bearer {secret}", "X-Tenant": "main"}
    # when
    with httpx.Client(base_url=live_server.url, headers=headers, trust_env=False) as http:
        answers = [http.get(f"/api/orders/{ours}"), http.get("/api/orders")]
    # then
    assert [answer.status_code for answer in answers] == [404, 200]
    assert answers[1].json()["items"] == []


def test_an_unknown_shop_sells_nothing(shop: Shop) -> None:
    answer = shop.http.get("/api/products", headers={"X-Tenant": "nowhere"})

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-tenant")
