"""An order as it was, and what has changed since, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from ecommerce.identity.models import ApiToken, Tenant
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Get = Callable[..., Any]
SCOPES = ["orders:read"]


def client(**token: Any) -> Client:
    chosen = {"tenant": "main", "name": "tests", "scopes": SCOPES, **token}
    _, secret = ApiToken.issue(**chosen)
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def get() -> Get:
    """Ask as staff; the shop has one order, which was paid and shipped."""
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    settle()
    staff = client()

    def ask(path: str = "", **query: object) -> Any:
        words = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        return staff.get(f"/api/orders/one{path}?{words}")

    return ask


def recorded() -> list[datetime]:
    """When each event of the order was recorded."""
    query = """SELECT recorded_at FROM {log}
               WHERE stream = 'order/one' AND version IS NOT NULL ORDER BY version"""
    return [at for (at,) in fetch("orders", query)]


def test_an_order_is_shown_as_it_was_at_a_version_and_at_an_instant(get: Get) -> None:
    times = recorded()

    by_version = [get(asOf=version).json() for version in range(1, len(times) + 1)]
    by_instant = [get(asOf=at.isoformat()).json() for at in times]

    assert [seen["status"] for seen in by_version] == ["Pending", "Reserved", "Paid", "Shipped"]
    assert by_instant == by_version
    assert get(asOf=(times[2] - timedelta(microseconds=1)).isoformat()).json() == by_version[1]
    assert get(asOf="2999-01-01T00:00:00Z").json() == by_version[3]


def test_it_has_the_fields_of_the_summary_but_for_what_other_services_know(get: Get) -> None:
    now = get().json()
    then = get(asOf=4).json()

    assert set(now) - set(then) == {"paymentInfo", "shipmentInfo"}
    assert then == {name: now[name] for name in then}
    assert then["totals"]["total"] == then["totalAmount"] == 59.97
    assert then["shippingAddress"]["city"] == "Springfield"


def test_before_it_existed_there_was_no_order(get: Get) -> None:
    first, *_ = recorded()
    early = (first - timedelta(seconds=1)).isoformat()

    for moment in ("0", "5", early, "1999-01-01T00:00:00Z"):
        for response in (get(asOf=moment), get("/diff", **{"from": moment}), get("/diff", **{"from": 1, "to": moment})):  # fmt: skip
            assert response.status_code == 404
            assert response.json()["detail"] == "there was no order 'one' then"


@pytest.mark.parametrize(
    "moment",
    ["yesterday", "-1", "1.5", "2026-03-01", "2026-03-01T12:00:00", "", "٣", "9" * 12, "2026-13-01T00:00:00Z"],
)  # fmt: skip
def test_a_moment_that_makes_no_sense_is_refused(get: Get, moment: str) -> None:
    for response, field in (
        (get(asOf=moment), "asOf"),
        (get("/diff", **{"from": moment}), "from"),
        (get("/diff", **{"from": 1, "to": moment}), "to"),
    ):
        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]


def test_a_difference_needs_a_beginning(get: Get) -> None:
    assert get("/diff").status_code == 422


def test_two_moments_differ_in_what_happened_between_them(get: Get) -> None:
    response = get("/diff", **{"from": 1, "to": 3})

    body = response.json()
    assert (response.status_code, body["fromVersion"], body["toVersion"]) == (200, 1, 3)
    assert body["changes"] == [
        {"field": "status", "before": "Pending", "after": "Paid"},
        {"field": "paymentId", "before": "", "after": "pay-one"},
    ]
    since = get("/diff", **{"from": recorded()[2].isoformat()}).json()
    assert (since["fromVersion"], since["toVersion"]) == (3, 4)
    assert [change["field"] for change in since["changes"]] == [
        "status",
        "shipmentId",
        "trackingNumber",
    ]
    assert get("/diff", **{"from": 2, "to": 2}).json()["changes"] == []


def test_the_history_names_the_versions_that_can_be_travelled_to(get: Get) -> None:
    entries = get("/history").json()["items"]

    assert [entry["version"] for entry in entries] == [1, 2, 3, 4]
    for entry in entries:
        assert get(asOf=entry["recordedAt"]).json() == get(asOf=entry["version"]).json()


def test_once_the_person_is_forgotten_the_past_has_no_address_either(get: Get) -> None:
    fetch("orders", "UPDATE {log} SET personal = NULL WHERE personal IS NOT NULL RETURNING 1")

    assert get(asOf=1).json()["shippingAddress"] is None
    assert get("/history").json()["items"][0]["fields"]["shippingAddress"] is None


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ({"customer_id": "cust-1"}, 200),
        ({"customer_id": "cust-2"}, 404),
        ({"tenant": "other"}, 404),
        ({"scopes": ["customers:read"]}, 403),
    ],
)
def test_the_past_is_for_those_who_may_see_the_order(
    get: Get, token: dict[str, Any], status: int
) -> None:
    Tenant.objects.get_or_create(slug="other", defaults={"name": "Other shop"})
    asking = client(**token)

    for path in ("?asOf=1", "/history", "/diff?from=1"):
        response = asking.get(f"/api/orders/one{path}")
        assert response.status_code == status
        assert (b"Springfield" in response.content) == (status == 200 and path != "/diff?from=1")
