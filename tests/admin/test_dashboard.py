"""The admin's first page: what it tells whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from analytics import queries
from analytics.models import DailySales
from customers.models import OrderSummary
from ecommerce.messaging import backlogs
from ecommerce.messaging.services import service
from inventory.models import InventoryLevel
from orders.models import Fulfilment, Order
from tests.admin.conftest import SignIn
from tests.admin.rows import NOW, make, url

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
MOST_QUERIES = 15


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backlogs, "KEPT_SECONDS", 0.0)
    backlogs.forget()
    yield
    backlogs.forget()


def happen(tenant: str = "main", first: int = 1) -> None:
    """A day of a shop: an order, one that stalled, a scarce product, a dead letter."""
    today = queries.today(tenant)
    for day, orders in ((today, 3), (today - timedelta(days=1), 2)):
        DailySales.objects.create(
            tenant=tenant, day=day, currency="USD", orders=orders, revenue=orders * 1050
        )
    summary(first, order_id=f"{tenant}-order-{first}", tenant=tenant)
    stuck = {"order_id": f"{tenant}-stuck-{first}", "step": "shipping"}
    make(Fulfilment, first, tenant=tenant, **stuck, attention="The carrier does not answer.")
    level = {"product_id": f"{tenant}-scarf-{first}", "name": f"{tenant} scarf", "available": 3}
    make(InventoryLevel, first, tenant=tenant, **level)
    make(service("payments").tables.dead, first, tenant=tenant, state="waiting")


def summary(number: int, **about: Any) -> None:
    sold = {"currency": "USD", "created_at": NOW, "subtotal": 1999, "total": 1999}
    make(OrderSummary, number, customer_id="c1", **sold, **about)


def front_page(client: Client) -> str:
    response = client.get("/admin/")
    assert response.status_code == 200
    return response.content.decode()


def test_it_tells_how_the_day_goes_and_what_needs_somebody(admin_client: Client) -> None:
    # given
    happen()
    # when
    response: Any = admin_client.get("/admin/")
    text = response.content.decode()
    # then
    (sales,) = response.context_data["sales"]
    assert (sales["orders"], sales["before"], sales["revenue"]) == (3, 2, 3150)
    assert "$31.50" in text
    assert "main-order-1" in text
    assert "$19.99" in text
    assert "The carrier does not answer." in text
    assert "main scarf" in text
    assert "3 left" in text
    payments = next(each for each in response.context_data["work"] if each.title == "Payments")
    assert (payments.dead, payments.parked, payments.workers) == (1, 0, 0)


def test_an_empty_shop_has_a_first_page_too(admin_client: Client) -> None:
    text = front_page(admin_client)

    assert "Nobody has ordered yet." in text
    assert "$0.00" in text
    assert "Enough of everything" in text


def test_it_is_about_the_tenant_of_who_looks(staff: SignIn) -> None:
    happen("main")
    happen("other", 2)

    text = front_page(staff("other", reads_all=True))

    assert "other-order-2" in text
    assert "other scarf" in text
    assert "main-" not in text
    assert "main scarf" not in text


def test_staff_see_what_their_scopes_reach(staff: SignIn, admin_client: Client) -> None:
    happen()

    theirs, everything = front_page(staff()), front_page(admin_client)

    assert "main-order-1" in theirs
    for operators in ("What the services have to do", 'href="/console/'):
        assert operators not in theirs
        assert operators in everything


def test_strangers_and_customers_are_asked_to_sign_in(client: Client, staff: SignIn) -> None:
    for visitor in (client, staff(is_staff=False)):
        assert visitor.get("/admin/").headers["Location"].startswith("/admin/login/")


def test_it_takes_as_many_queries_for_many_rows_as_for_one(admin_client: Client) -> None:
    happen()
    front_page(admin_client)
    with CaptureQueriesContext(connection) as one:
        front_page(admin_client)
    for number in range(2, 9):
        summary(number, order_id=f"o{number}")
        make(Fulfilment, number, order_id=f"o{number}", attention="The carrier is silent.")
        make(InventoryLevel, number, product_id=f"p{number}")

    with CaptureQueriesContext(connection) as many:
        front_page(admin_client)

    assert len(many) == len(one) <= MOST_QUERIES


def test_the_sidebar_leads_elsewhere_for_those_who_may(admin_client: Client, staff: SignIn) -> None:
    def first_group(client: Client) -> list[str]:
        page: Any = client.get("/admin/")
        return [item["title"] for item in page.context_data["sidebar_navigation"][0]["items"]]

    assert first_group(staff()) == ["Today", "Front door"]
    assert {"Today", "Console", "Front door"} <= set(first_group(admin_client))


def test_an_order_leads_to_the_console_in_its_own_tenant(admin_client: Client) -> None:
    ours, theirs = make(Order, 1), make(Order, 2, tenant="other", order_id="o2")
    try:
        address = reverse("console-order", args=["o1"])
    except NoReverseMatch:
        pytest.skip("the console has no page of an order")

    assert f'href="{address}"' in admin_client.get(url(Order, "change", ours.pk)).content.decode()
    assert "/console/orders/o2" not in (
        admin_client.get(url(Order, "change", theirs.pk)).content.decode()
    )


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/orders/order/"])
def test_the_admin_runs_no_script_that_is_not_a_file_of_ours(
    admin_client: Client, path: str
) -> None:
    policy = admin_client.get(path, follow=True).headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    assert directives["script-src"] == "'self' 'unsafe-eval'"
    assert directives["style-src"] == "'self' 'unsafe-inline'"
    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"


def test_the_apis_documentation_and_the_shop_have_no_more_than_they_need(client: Client) -> None:
    docs = client.get("/api/docs").headers["Content-Security-Policy"]
    shop = client.get("/shop/").headers["Content-Security-Policy"]

    assert "script-src 'self';" in f"{docs};"
    assert "unsafe-eval" not in docs
    assert "unsafe" not in shop
