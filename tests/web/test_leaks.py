"""Nothing of a tenant's is shown to another's people and programs, at any address.

What is walked over is found: operations from the OpenAPI document, pages from the addresses, lists
and rows from the admin. The walks look at the queries' own filters, without row security behind
them; that this holds where a filter is missing is looked at, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from customers import queries
from customers.models import OrderSummary
from ecommerce.identity.models import User
from ecommerce.messaging import database, tenancy
from ecommerce.messaging.services import service
from ecommerce.web import live
from inventory.models import Product
from orders.models import Order
from tests.admin import rows
from tests.web.planted import (
    CUSTOMER,
    PRODUCT,
    SECRET,
    STRANGER,
    VICTIM,
    Planted,
    addresses,
    body_of,
    has_tenant,
    leaks,
    operations,
    person,
    plant,
    token,
)

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

WALKED_OTHERWISE = re.compile(r"(api|admin)(/|$)|\^")


@pytest.fixture
def planted(db: None) -> Planted:
    return plant()


@pytest.fixture
def no_row_security(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queries' filters stand alone."""
    monkeypatch.setattr(tenancy, "WEB_ROLE", "none")


class Walk:
    """What a visitor is shown of the victim's, address by address."""

    def __init__(self, client: Client, planted: Planted) -> None:
        self.client = client
        self.planted = planted
        self.said = ""
        self.asked = 0
        self.found: list[str] = []

    def ask(self, method: str, address: str, body: Any = None, **options: Any) -> None:
        sent = json.dumps(body or {})
        self.said += address + sent
        response = self.client.generic(
            method, address, sent, content_type="application/json", **options
        )
        self.look(f"{method} {address}", response)

    def look(self, name: str, response: Any) -> None:
        self.asked += 1
        assert response.status_code != 500, name
        found = leaks(response, self.said, self.planted.secrets)
        if found or "Idempotency-Replayed" in response:
            self.found.append(f"{name}: {response.status_code} {sorted(found)[:3]}")

    def api(self, *methods: str) -> Walk:
        for method, template, schema in operations():
            if method in methods:
                for address in addresses(template, self.planted.ids):
                    key = {"idempotency-key": SECRET} if method != "get" else {}
                    body = body_of(schema, self.planted.ids)
                    self.ask(method.upper(), address, body, headers=key)
        return self

    def pages(self) -> Walk:
        for template in page_addresses(get_resolver().url_patterns):
            for address in addresses(template, self.planted.ids):
                self.ask("GET", address)
        return self

    def lists(self, models: Collection[Any] = admin.site._registry) -> Walk:
        for model in models:
            self.ask("GET", rows.url(model))
        for row in self.rows():
            if type(row) in models:
                self.ask("GET", rows.url(type(row), "change", row.pk))
        return self

    def actions(self) -> Walk:
        for row in self.rows():
            for action in admin.site._registry[type(row)].actions or ():
                selected = {"action": action, "_selected_action": str(row.pk)}
                self.said += str(selected)
                address = rows.url(type(row))
                self.look(f"{action} {address}", self.client.post(address, selected))
        return self

    def rows(self) -> Iterator[Any]:
        return (row for row in self.planted.rows if type(row) in admin.site._registry)


def page_addresses(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every address that is no operation of the API, with the names of its places in braces."""
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if WALKED_OTHERWISE.match(address):
            continue
        if isinstance(pattern, URLResolver):
            yield from page_addresses(pattern.url_patterns, address)
        elif isinstance(pattern, URLPattern):
            yield "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", address)


def everything_of(tenant: str) -> dict[str, list[Any]]:
    """All rows of a tenant."""
    return {
        model._meta.label: list(
            model._default_manager.filter(tenant=tenant).order_by("pk").values_list()
        )
        for model in filter(has_tenant, rows.of_services())
    }


VISITORS = {
    "a program with every scope": lambda: token(STRANGER),
    "a program of a customer of the same name": lambda: token(STRANGER, customer_id=CUSTOMER),
    "a customer of the same name": lambda: person(STRANGER, customer_id=CUSTOMER),
    "a member of staff": lambda: person(STRANGER, is_staff=True),
    "somebody unknown": lambda: Client(headers={"x-tenant": VICTIM}),
}
every_visitor = pytest.mark.parametrize("visitor", VISITORS.values(), ids=VISITORS)


@every_visitor
def test_no_operation_shows_another_tenants_things(
    planted: Planted, no_row_security: None, visitor: Any
) -> None:
    walk = Walk(visitor(), planted).api("get")

    assert walk.asked >= len([method for method, _, _ in operations() if method == "get"])
    assert walk.found == []


@every_visitor
def test_no_operation_changes_another_tenants_things(
    planted: Planted, no_row_security: None, visitor: Any
) -> None:
    before = everything_of(VICTIM)

    walk = Walk(visitor(), planted).api("post", "put", "patch", "delete")

    assert walk.found == []
    assert everything_of(VICTIM) == before


@every_visitor
def test_no_page_shows_another_tenants_things(
    planted: Planted, no_row_security: None, visitor: Any
) -> None:
    walk = Walk(visitor(), planted).pages()

    assert walk.asked > 5
    assert walk.found == []


def test_no_list_of_the_admin_shows_another_tenants_things(
    planted: Planted, no_row_security: None
) -> None:
    walk = Walk(person(STRANGER, is_staff=True), planted).lists()

    assert walk.asked > len(planted.rows)
    assert walk.found == []


def test_no_action_of_the_admin_reaches_another_tenants_things(
    planted: Planted, no_row_security: None
) -> None:
    before = everything_of(VICTIM)

    walk = Walk(person(STRANGER, is_staff=True), planted).actions()

    assert walk.asked > 5
    assert walk.found == []
    assert everything_of(VICTIM) == before


def test_a_superuser_sees_every_tenant_in_the_admin_and_their_own_in_the_api(
    planted: Planted,
) -> None:
    superuser = person(STRANGER, is_staff=True, is_superuser=True)

    assert len(Walk(superuser, planted).lists([Order, OrderSummary, Product, User]).found) == 8
    assert Walk(superuser, planted).api("get").found == []


def watched(tenant: str, planted: Planted) -> list[Any]:
    """What live streams would send to somebody of a tenant who asks for any of the victim's ids."""
    assert get_resolver().url_patterns  # topics are declared beside the pages
    ids = sorted(set().union(*planted.ids.values()))
    found: list[Any] = []
    for topic in live._topics.values():
        if topic.sample:
            found += topic.sample([(tenant, row) for row in ids])
            continue
        with database.connect(service(topic.service).database) as conn:
            found += conn.execute(topic.statement, ([tenant] * len(ids), ids)).fetchall()
    return found


def test_no_live_stream_sends_another_tenants_things(planted: Planted) -> None:
    assert watched(STRANGER, planted) == []
    assert bool(watched(VICTIM, planted)) == bool(live._topics)


def test_a_live_stream_needs_the_ticket_of_its_tenant_and_row() -> None:
    path, _, query = live.address("orders", VICTIM, "o1").partition("?")
    ticket = query.encode()

    assert live._read({"path": "/events/orders/o2", "query_string": ticket}) is None
    assert live._read({"path": path, "query_string": b"ticket=orders:acme:o1"}) is None


# The walks would find it


def test_the_tenants_own_program_is_shown_all_this(planted: Planted) -> None:
    shown = {
        line.split("/")[2].split("?")[0] for line in Walk(token(VICTIM), planted).api("get").found
    }

    assert {"orders", "customers", "products", "inventory", "analytics"} <= shown


def forget_the_filter(patch: pytest.MonkeyPatch) -> None:
    """What a hurried colleague might do."""

    def orders(tenant: str, **_: Any) -> Any:
        return OrderSummary.objects.filter(created_at__isnull=False)

    patch.setattr(queries, "orders", orders)


def test_a_forgotten_filter_is_found(
    planted: Planted, no_row_security: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_the_filter(monkeypatch)

    walk = Walk(token(STRANGER), planted).api("get")

    assert any(line.startswith("GET /api/orders: 200") for line in walk.found)


def test_row_security_stands_behind_a_forgotten_filter(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_the_filter(monkeypatch)

    assert Walk(token(STRANGER), planted).api("get").found == []


# What is no address


def test_a_place_in_another_tenants_log_is_nobodys_business(planted: Planted) -> None:
    restocked = token(VICTIM).post(
        f"/api/inventory/{PRODUCT}/restock", {"quantity": 1}, content_type="application/json"
    )
    place = {"waitFor": restocked.headers["X-Consistency-Token"]}

    refused = token(STRANGER).get("/api/inventory", place)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "waitFor")
    assert token(VICTIM).get("/api/inventory", place).status_code == 200


def test_another_tenants_cursor_leads_through_ones_own_list(planted: Planted) -> None:
    cursor = token(VICTIM).get("/api/products", {"limit": 1}).json()["next"]

    answer = token(STRANGER).get("/api/products", {"cursor": cursor})

    assert answer.status_code == 200
    assert leaks(answer, cursor, planted.secrets) == []
