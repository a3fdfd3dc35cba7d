"""Turning pages while rows come, go and share their time."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from ecommerce.identity.models import ApiToken, Tenant

pytestmark = [pytest.mark.urls("tests.web.shop"), pytest.mark.django_db]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def seven(tenant: Tenant) -> None:
    for number in range(7):
        add(f"t{number}", NOON + timedelta(minutes=number // 3))  # three of them at once


def add(name: str, at: datetime) -> None:
    token, _ = ApiToken.issue(tenant="main", name=name, scopes=[])
    ApiToken.objects.filter(pk=token.pk).update(created_at=at)


def turn(client: Client, cursor: str | None = None, limit: int = 3) -> tuple[list[str], str | None]:
    query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    page = client.get("/api/tokens", query).json()
    return [item["name"] for item in page["items"]], page["next"]


def test_pages_are_newest_first_and_end(client: Client, seven: None) -> None:
    first, one = turn(client)
    second, two = turn(client, one)
    third, end = turn(client, two)

    assert [first, second, third] == [["t6", "t5", "t4"], ["t3", "t2", "t1"], ["t0"]]
    assert end is None


def test_a_page_that_is_just_full_is_the_last(client: Client, seven: None) -> None:
    assert turn(client, limit=7)[1] is None


def test_what_comes_or_goes_neither_repeats_nor_hides_a_row(client: Client, seven: None) -> None:
    _, one = turn(client)
    add("new", NOON + timedelta(hours=1))
    ApiToken.objects.filter(name__in=["t6", "t4"]).delete()

    assert turn(client, one)[0] == ["t3", "t2", "t1"]


def cursor_of(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    ["x", "%", "äöü", "=", "A" * 400, cursor_of(None), cursor_of([]), cursor_of(["name", "t1", "x"]),
     cursor_of(["created_at", "yesterday", "x"]), cursor_of(["created_at", NOON.isoformat(), "x"]),
     cursor_of(["created_at", None, str(Tenant)]), cursor_of(["created_at", {"a": 1}, "x"]),
     cursor_of(["created_at", 10**30, "x"]), cursor_of(["created_at", NOON.isoformat(), "\0"]),
     cursor_of(["created_at", "9999-12-31T23:59:59-23:00", "x"]), cursor_of([1, 2, 3, 4])],
)  # fmt: skip
def test_a_cursor_that_is_not_ours_is_refused(client: Client, cursor: str) -> None:
    response = client.get("/api/tokens", {"cursor": cursor})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize("limit", ["0", "-1", "101", "many", "1.5", ""])
def test_a_page_has_one_to_a_hundred_items(client: Client, limit: str) -> None:
    response = client.get("/api/tokens", {"limit": limit})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "limit"
