"""Every page of the admin: what it shows to whom, and that it takes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.admin import rows
from tests.admin.conftest import SignIn
from tests.admin.rows import label, make, url

pytestmark = pytest.mark.django_db
MOST_QUERIES = 15

every = pytest.mark.parametrize("model", rows.registered(), ids=label)
every_different = pytest.mark.parametrize("model", rows.different(), ids=label)
every_read_only = pytest.mark.parametrize("model", rows.read_only(), ids=label)
every_with_tenant = pytest.mark.parametrize("model", rows.with_tenant(), ids=label)


def shown(response: Any) -> list[Any]:
    assert response.status_code == 200
    return list(response.context_data["cl"].result_list)


def test_every_table_of_every_service_is_in_the_admin() -> None:
    assert [model for model in rows.of_services() if model not in admin.site._registry] == []


@every
def test_an_empty_list_is_shown(admin_client: Client, model: rows.Model) -> None:
    assert admin_client.get(url(model)).status_code == 200


@every_different
def test_a_list_takes_as_many_queries_for_three_rows_as_for_one(
    admin_client: Client, model: rows.Model
) -> None:
    make(model)
    admin_client.get(url(model))
    with CaptureQueriesContext(connection) as one:
        assert shown(admin_client.get(url(model)))
    make(model, 2)
    make(model, 3)
    admin_client.get(url(model))  # whoever changes tenants has them read anew

    with CaptureQueriesContext(connection) as three:
        assert len(shown(admin_client.get(url(model)))) >= 3

    assert len(three) == len(one) <= MOST_QUERIES


@every_read_only
def test_a_list_is_never_counted(admin_client: Client, model: rows.Model) -> None:
    make(model)

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(url(model))

    assert [q["sql"] for q in queries if "COUNT(" in q["sql"] or "DISTINCT" in q["sql"]] == []


@every
def test_a_row_has_a_page_with_nothing_from_elsewhere(
    admin_client: Client, model: rows.Model
) -> None:
    row = make(model)

    response = admin_client.get(url(model, "change", row.pk))

    assert response.status_code == 200
    text = response.content.decode() + admin_client.get(url(model)).content.decode()
    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]*', text) == []


@every_read_only
def test_rows_are_found_by_what_the_search_field_asks_for(admin_client: Client, model: Any) -> None:
    row = make(model)
    make(model, 2, **({"stream": "order/o2"} if hasattr(model, "stream") else {}))
    for field in admin.site._registry[model].search_fields:
        value = str(getattr(row, field.partition("__")[0]))

        found = shown(admin_client.get(url(model), {"q": value}))

        assert row in found
        assert shown(admin_client.get(url(model), {"q": "nothing-of-this-name"})) == []


def choices(page: Any) -> Iterator[str]:
    cl = page.context_data["cl"]
    for spec in cl.filter_specs:
        if (
            hasattr(spec, "lookup_choices")
            and hasattr(spec, "used_parameters")
            and hasattr(spec, "lookups")
        ):
            yield from (f"?{spec.parameter_name}={value}" for value, _ in spec.lookup_choices[:1])
        else:
            yield from [choice["query_string"] for choice in spec.choices(cl)][1:3]


@every_different
def test_every_filter_narrows_the_list(admin_client: Client, model: rows.Model) -> None:
    make(model)
    for query in choices(admin_client.get(url(model))):
        assert admin_client.get(url(model) + query).status_code == 200, query


@every_read_only
def test_nothing_can_be_added_changed_or_deleted(admin_client: Client, model: Any) -> None:
    row = make(model)
    before = model._default_manager.filter(pk=row.pk).values().get()

    for address in (
        url(model, "change", row.pk),
        url(model, "delete", row.pk),
        url(model, "add"),
    ):
        assert admin_client.post(address, {"post": "yes", "status": "x"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"}
    admin_client.post(url(model), selected)

    assert model._default_manager.filter(pk=row.pk).values().get() == before


@every_different
def test_strangers_and_customers_are_asked_to_sign_in(
    client: Client, staff: SignIn, model: rows.Model
) -> None:
    for visitor in (client, staff(is_staff=False)):
        response = visitor.get(url(model))
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


@every_with_tenant
def test_staff_of_another_tenant_see_nothing(staff: SignIn, model: rows.Model) -> None:
    row = make(model)
    other = staff("other", reads_all=True)

    assert shown(other.get(url(model))) == []
    assert shown(other.get(url(model), {"q": "o1"})) == []
    assert other.get(url(model, "change", row.pk)).status_code == 302


@every_with_tenant
def test_staff_see_the_rows_of_their_own_tenant(staff: SignIn, model: rows.Model) -> None:
    row = make(model)

    assert shown(staff(reads_all=True).get(url(model))) == [row]


@every_different
def test_staff_read_what_their_scopes_allow_and_no_more(staff: SignIn, model: rows.Model) -> None:
    row = make(model)
    scope = getattr(admin.site._registry[model], "reads", "operations")
    expected = 403 if scope == "operations" else 200
    person = staff()

    assert person.get(url(model)).status_code == expected
    assert person.get(url(model, "change", row.pk)).status_code == expected


def test_personal_data_of_messages_are_shown_to_superusers_alone(
    admin_client: Client, staff: SignIn
) -> None:
    person = staff(reads_all=True)
    personal = [model for model in rows.with_tenant() if hasattr(model, "personal")]
    assert len(personal) == 6
    for model in personal:
        page = url(model, "change", make(model).pk)

        assert "Secret Lane" in admin_client.get(page).content.decode()
        assert "Secret Lane" not in person.get(page).content.decode()
        assert person.get(url(model), {"personal__contains": "Secret"}).status_code == 400


def test_the_admin_of_one_who_may_see_nothing_there_is_empty(staff: SignIn) -> None:
    page = staff().get("/admin/").content.decode()

    assert "Order summaries" in page
    assert "API tokens" not in page
    assert "Messages (log)" not in page


def test_the_sidebar_has_the_services_in_their_order_and_their_messages_apart(
    admin_client: Client,
) -> None:
    page: Any = admin_client.get("/admin/")
    groups = page.context_data["sidebar_navigation"]

    assert [group.get("title") for group in groups] == [
        None,
        "Orders",
        "Inventory",
        "Payments",
        "Shipping",
        "Notifications",
        "Customers",
        "Analytics",
        "Identity",
        "Messages",
    ]
    assert [item["title"] for item in groups[1]["items"]] == [
        "Orders",
        "Fulfilments",
        "Catalogue items",
    ]
    assert [item["title"] for item in groups[-1]["items"]][:2] == ["Orders", "Inventory"]
