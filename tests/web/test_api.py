"""The API as a whole: who may call what, what is documented, and the tutorial's own addresses."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from ecommerce.api import api
from ecommerce.identity import scopes
from ecommerce.web.access import Access, access_table, as_markdown

ACCESS_PAGE = Path(settings.BASE_DIR) / "docs" / "access.md"


def operations() -> list[Access]:
    return list(access_table(api))


def test_every_operation_says_who_may_call_it() -> None:
    assert operations()
    assert [row for row in operations() if row.rule is None] == []


def test_the_page_of_who_may_call_what_is_true() -> None:
    page = as_markdown(operations())
    if os.environ.get("UPDATE_SNAPSHOTS"):
        ACCESS_PAGE.write_text(page)

    assert ACCESS_PAGE.read_text() == page, "run the tests with UPDATE_SNAPSHOTS=1 and look at it"


@pytest.mark.django_db
@pytest.mark.parametrize("row", operations(), ids=lambda row: f"{row.method} {row.path}")
def test_a_stranger_gets_no_further_than_the_public_operations(client: Client, row: Access) -> None:
    address = re.sub(r"{[^}]*}", "some-id", row.path)
    response = client.generic(row.method, address, "{}", content_type="application/json")

    assert row.rule is not None
    assert (response.status_code == 401) == bool(row.rule.scopes)


@pytest.mark.django_db
@pytest.mark.parametrize("row", operations(), ids=lambda row: f"{row.method} {row.path}")
def test_a_token_without_the_scope_gets_no_further(
    with_token: Callable[..., Client], row: Access
) -> None:
    assert row.rule is not None
    others = scopes.ALL - set(row.rule.scopes)
    response = with_token(*others).generic(
        row.method, re.sub(r"{[^}]*}", "some-id", row.path), "{}", content_type="application/json"
    )

    assert (response.status_code == 403) == bool(row.rule.scopes)


def test_no_two_operations_are_the_same() -> None:
    ids = [
        operation.operation_id
        for router in api._get_bound_routers()
        for view in router.path_operations.values()
        for operation in view.operations
    ]
    calls = [(row.method, re.sub(r"{[^}]*}", "{}", row.path)) for row in operations()]

    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert [call for call, count in Counter(calls).items() if count > 1] == []


def test_every_operation_is_described() -> None:
    assert [row.path for row in operations() if not row.summary] == []


@pytest.mark.django_db
def test_the_api_is_documented_without_help_from_other_sites(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    document = client.get("/api/openapi.json").json()

    assert re.findall(r"https?://", page) == []
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        response = client.get(asset)
        assert response.status_code == 200
        response.close()
    assert document["info"]["title"] == "E-commerce platform"
    assert set(document["paths"]) == {row.path for row in operations()}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("POST", "/orders"),
        ("GET", "/customers/cust-123"),
        ("GET", "/customers/cust-123/orders"),
    ],
)
def test_the_tutorials_addresses_answer_without_the_prefix(
    client: Client, method: str, address: str
) -> None:
    responses = [
        client.generic(method, prefix + address, "{}", content_type="application/json")
        for prefix in ("", "/api")
    ]

    assert [response.status_code for response in responses] == [401, 401]
    assert {response["Content-Type"] for response in responses} == {"application/problem+json"}


@pytest.mark.django_db
def test_the_tutorials_addresses_answer_to_nothing_else(client: Client) -> None:
    response = client.delete("/customers/cust-123")

    assert (response.status_code, response["Allow"]) == (405, "GET")


@pytest.mark.django_db
def test_an_id_with_a_nul_is_no_error_without_the_prefix_either(client: Client) -> None:
    assert client.get("/customers/%00").status_code == 404
