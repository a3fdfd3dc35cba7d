"""Sales figures over HTTP, for a shop whose days begin before those of UTC."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from analytics import queries
from analytics.models import Cohorts, DailySales
from ecommerce.identity import tenants
from ecommerce.identity.models import ApiToken, Tenant
from tests.analytics.conftest import Hear
from tests.analytics.examples import (
    DESK,
    MORNING,
    MOUSE,
    NEXT_DAY,
    cancelled,
    placed,
    product,
)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("ecommerce.api"),
    pytest.mark.usefixtures("in_kolkata"),
]

MARCH = "startDate=2026-03-01&endDate=2026-03-31"


def token(*scopes: str, tenant: str = "main") -> Client:
    _, secret = ApiToken.issue(tenant=tenant, name="test", scopes=list(scopes))
    return Client(headers={"authorization": f"Bearer {secret}"})


def items(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.content
    body = response.json()
    assert body.keys() == {"items", "next"}
    assert body["next"] is None
    found: list[dict[str, Any]] = body["items"]
    return found


def test_daily_sales_are_net_and_come_newest_first(analyst: Client, heard: Hear) -> None:
    # given
    order = placed("o1", MOUSE, DESK)
    heard(order, placed("o2"), placed("o3", customer_id="cust-2"), cancelled(order))
    # then
    assert items(analyst.get(f"/api/analytics/sales/daily?{MARCH}")) == [
        {
            "date": "2026-03-03",
            "currency": "USD",
            "totalOrders": -1,
            "totalRevenue": -220,
            "totalItemsSold": -3,
            "avgOrderValue": 0,
            "uniqueCustomers": 0,
            "cancelledOrders": 1,
            "cancelledRevenue": 220,
        },
        {
            "date": "2026-03-02",
            "currency": "USD",
            "totalOrders": 3,
            "totalRevenue": 260,
            "totalItemsSold": 7,
            "avgOrderValue": 86.67,
            "uniqueCustomers": 2,
            "cancelledOrders": 0,
            "cancelledRevenue": 0,
        },
    ]


def test_daily_sales_are_those_of_the_last_thirty_days_unless_asked(
    analyst: Client, heard: Hear
) -> None:
    # given
    now = tenants.local_time(MORNING, "main")
    today = queries.today("main")
    start = now.replace(year=today.year, month=today.month, day=today.day)
    heard(*(placed(f"o{i}", at=start - timedelta(days=i)) for i in (0, 29, 30)))
    # when
    days = [item["date"] for item in items(analyst.get("/api/analytics/sales/daily"))]
    until = today - timedelta(days=1)
    ended = items(analyst.get(f"/api/analytics/sales/daily?endDate={until}"))
    since = items(analyst.get(f"/api/analytics/sales/daily?startDate={until}"))
    # then
    assert days == [str(today), str(today - timedelta(days=29))]
    assert [item["date"] for item in ended] == [
        str(today - timedelta(days=29)),
        str(today - timedelta(days=30)),
    ]
    assert [item["date"] for item in since] == [str(today)]


def test_hourly_sales_come_in_order_and_in_the_shops_time(analyst: Client, heard: Hear) -> None:
    # given
    heard(placed("o1"), placed("o2", at=MORNING + timedelta(hours=3)), placed("o3", at=NEXT_DAY))
    # then
    assert items(analyst.get("/api/analytics/sales/hourly?date=2026-03-02")) == [
        {
            "hour": "2026-03-02T00:00:00+05:30",
            "currency": "USD",
            "totalOrders": 1,
            "totalRevenue": 20,
        },
        {
            "hour": "2026-03-02T03:00:00+05:30",
            "currency": "USD",
            "totalOrders": 1,
            "totalRevenue": 20,
        },
    ]
    assert items(analyst.get("/api/analytics/sales/hourly")) == []


def test_months_come_newest_first_with_their_customers(analyst: Client, heard: Hear) -> None:
    # given
    april = MORNING + timedelta(days=40)
    undone = placed("o2", customer_id="cust-2")
    heard(placed("o1"), undone, cancelled(undone), placed("o3", DESK, at=april))
    # then
    assert items(analyst.get("/api/analytics/sales/monthly")) == [
        {
            "month": "2026-04",
            "currency": "USD",
            "totalOrders": 1,
            "totalRevenue": 200,
            "avgOrderValue": 200,
            "uniqueCustomers": 1,
            "newCustomers": 0,
        },
        {
            "month": "2026-03",
            "currency": "USD",
            "totalOrders": 1,
            "totalRevenue": 20,
            "avgOrderValue": 20,
            "uniqueCustomers": 2,
            "newCustomers": 2,
        },
    ]
    assert items(analyst.get("/api/analytics/sales/monthly?currency=EUR")) == []


def test_cohorts_say_in_which_months_customers_came_back(analyst: Client, heard: Hear) -> None:
    # given
    april = MORNING + timedelta(days=40)
    heard(placed("o1"), placed("o2", customer_id="cust-2"), placed("o3", at=april))
    heard(placed("o4", currency="EUR"))
    # then
    assert items(analyst.get("/api/analytics/cohorts")) == [
        {"month": "2026-03", "currency": "USD", "customers": 2, "cameBack": {"2026-04": 1}}
    ]
    (euro,) = items(analyst.get("/api/analytics/cohorts?currency=EUR"))
    assert (euro["customers"], euro["cameBack"]) == (1, {})


def test_top_products_are_by_net_revenue(analyst: Client, heard: Hear) -> None:
    # given
    undone = placed("o3", DESK, DESK)
    heard(
        product("mouse", "Mouse"),
        placed("o1", MOUSE),
        placed("o2", MOUSE, DESK, at=NEXT_DAY),
        undone,
        cancelled(undone),
    )
    # when
    top = items(analyst.get(f"/api/analytics/products/top?{MARCH}"))
    # then
    assert top == [
        {
            "productId": "desk",
            "name": "desk",
            "currency": "USD",
            "timesOrdered": 1,
            "unitsSold": 1,
            "totalRevenue": 200,
            "avgRevenuePerOrder": 200,
        },
        {
            "productId": "mouse",
            "name": "Mouse",
            "currency": "USD",
            "timesOrdered": 2,
            "unitsSold": 4,
            "totalRevenue": 40,
            "avgRevenuePerOrder": 20,
        },
    ]
    assert items(analyst.get(f"/api/analytics/products/top?{MARCH}&limit=1")) == top[:1]


def test_a_product_of_which_all_was_cancelled_is_no_top_product(
    analyst: Client, heard: Hear
) -> None:
    order = placed("o1", DESK)
    heard(order, cancelled(order))
    assert items(analyst.get(f"/api/analytics/products/top?{MARCH}")) == []


def test_figures_can_be_had_in_one_currency(analyst: Client, heard: Hear) -> None:
    # given
    heard(placed("o1"), placed("o2", currency="EUR"))
    # then
    for address in ("sales/daily?", "products/top?"):
        every = items(analyst.get(f"/api/analytics/{address}{MARCH}"))
        euros = items(analyst.get(f"/api/analytics/{address}{MARCH}&currency=EUR"))
        assert [item["currency"] for item in every] == ["EUR", "USD"]
        assert [item["currency"] for item in euros] == ["EUR"]
    hours = items(analyst.get("/api/analytics/sales/hourly?date=2026-03-02&currency=EUR"))
    assert [item["currency"] for item in hours] == ["EUR"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("sales/daily?startDate=2026-03-02&endDate=2026-03-01", "startDate"),
        ("sales/daily?startDate=9999-12-31", "startDate"),
        ("sales/daily?endDate=0001-01-02", "endDate"),
        ("sales/daily?startDate=yesterday", "startDate"),
        ("sales/daily?currency=euro", "currency"),
        ("sales/hourly?date=2026-02-30", "date"),
        ("sales/monthly?currency=euro", "currency"),
        ("cohorts?currency=euro", "currency"),
        ("products/top?limit=0", "limit"),
        ("products/top?limit=101", "limit"),
        ("products/top?startDate=2026-03-02&endDate=2026-03-01", "startDate"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(query: str, field: str, analyst: Client) -> None:
    response = analyst.get(f"/api/analytics/{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "address", ["sales/daily", "sales/hourly", "sales/monthly", "products/top", "cohorts"]
)
def test_only_analysts_see_figures(address: str, heard: Hear) -> None:
    assert token("orders:read", "operations").get(f"/api/analytics/{address}").status_code == 403
    assert Client().get(f"/api/analytics/{address}", REMOTE_ADDR="192.0.2.1").status_code == 401


def test_another_tenant_has_its_own_figures(heard: Hear) -> None:
    # given
    Tenant.objects.create(slug="other", name="Other shop")
    heard(placed("o1"), product("mouse", "Mouse"))
    heard(placed("o1", DESK), tenant="other")
    analyst = token("analytics:read", tenant="other")
    # then
    (day,) = items(analyst.get(f"/api/analytics/sales/daily?{MARCH}"))
    assert (day["totalOrders"], day["totalRevenue"]) == (1, 200)
    (top,) = items(analyst.get(f"/api/analytics/products/top?{MARCH}"))
    assert top["productId"] == "desk"


def broken_invariants() -> list[str]:
    broken = []
    with connection.cursor() as cursor:
        for name, statement in queries.INVARIANTS:
            cursor.execute(statement)
            if cursor.fetchall():
                broken.append(name)
    return broken


def test_invariants_hold_for_what_was_heard_and_notice_tampering(heard: Hear) -> None:
    # given
    order = placed("o1", MOUSE, DESK)
    heard(order, placed("o2", currency="EUR"), cancelled(order))
    assert broken_invariants() == []
    # when
    DailySales.objects.filter(day=date(2026, 3, 2)).update(orders=7, items=7)
    DailySales.objects.filter(day=date(2026, 3, 3)).update(cancelled_for={})
    Cohorts.objects.filter(currency="EUR").update(customers={"2026-03": {"2026-03": 2}})
    # then
    assert broken_invariants() == [
        "a day's orders and unique customers are those of the orders placed on it",
        "a day's cancellations have reasons",
        "the cohorts are those of the customers' first orders",
        "a day's hours add up to the day",
        "a day's products add up to the items of the day",
    ]
