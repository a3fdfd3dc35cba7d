"""The dashboard: its figures, its days, and who may see it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from analytics import queries
from ecommerce.identity.models import Tenant, User
from ecommerce.messaging.database import connect
from ecommerce.messaging.projections import read_models
from ecommerce.web import live
from tests.analytics.conftest import Hear
from tests.analytics.examples import (
    DESK,
    MORNING,
    MOUSE,
    cancelled,
    placed,
    product,
    steps,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("in_kolkata")]

MARCH = "/analytics/?from=2026-03-01&to=2026-03-31"
MOST_QUERIES = 15


def page(client: Client, address: str = MARCH) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def tiles(text: str) -> dict[str, str]:
    found = re.findall(r'tile__title">([^<]*)</h2>\s*<p class="tile__value number">([^<]*)<', text)
    return dict(found)


def cells(text: str, table: str) -> list[list[str]]:
    """The rows of a table, as they are shown."""
    (body,) = re.findall(rf'id="{table}-table".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    rows = body.split("<tr>")[1:]
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in rows]


def today_at(hour: int) -> datetime:
    now = queries.now("main")
    return now.replace(hour=hour, minute=5, second=0, microsecond=0)


def test_the_figures_are_net_of_what_was_cancelled(analyst: Client, heard: Hear) -> None:
    order = placed("o1", MOUSE, DESK)
    heard(order, placed("o2"), placed("o3", customer_id="cust-2"), cancelled(order))

    text = page(analyst)

    assert tiles(text) == {
        "Revenue": "$40.00",
        "Orders": "2",
        "Average order": "$20.00",
        "Customers": "2",
        "Cancelled": "33.3%",
    }
    days = {row[0]: row[1:] for row in cells(text, "days")}
    assert len(days) == 31
    assert days["Mon 2 Mar"] == ["$260.00", "3", "$86.67", "0", "2", "$0.00", "0"]
    assert days["Tue 3 Mar"] == ["-$220.00", "-1", "$0.00", "1", "0", "$0.00", "0"]


def test_figures_are_compared_with_as_many_days_before(analyst: Client, heard: Hear) -> None:
    heard(
        placed("o1", at=MORNING - timedelta(days=7)),
        placed("o2"),
        placed("o3", customer_id="cust-2"),
        placed("o4", customer_id="cust-3"),
    )

    text = page(analyst, "/analytics/?from=2026-03-02&to=2026-03-08")

    assert tiles(text)["Orders"] == "3"
    assert re.search(r'up</span>200%<span class="tile__before">from \$20.00', text)
    monday = next(row for row in cells(text, "days") if row[0] == "Mon 2 Mar")
    assert monday[-2:] == ["$20.00", "1"]


def test_a_day_is_shown_by_its_hours_in_the_shops_time(analyst: Client, heard: Hear) -> None:
    heard(placed("o1"), placed("o2", at=MORNING + timedelta(hours=3)))

    rows = cells(page(analyst, "/analytics/?from=2026-03-02&to=2026-03-02"), "hours")

    assert len(rows) == 24
    assert [row[0] for row in rows if row[2] != "0"] == ["00:00", "03:00"]


def test_today_is_compared_with_yesterday_by_this_hour(analyst: Client, heard: Hear) -> None:
    now = queries.now("main")
    yesterday = now - timedelta(days=1)
    heard(
        placed("o1", at=now),
        placed("o2", at=yesterday.replace(hour=now.hour)),
        *([placed("o3", DESK, at=yesterday.replace(hour=now.hour + 1))] if now.hour < 23 else []),
    )

    text = page(analyst, "/analytics/?range=today")

    assert tiles(text)["Revenue"] == "$20.00"
    assert "from $20.00" in text


def test_a_long_period_is_shown_by_month(analyst: Client, heard: Hear) -> None:
    heard(placed("o1"), placed("o2", at=MORNING + timedelta(days=40)))

    rows = cells(page(analyst, "/analytics/?from=2026-01-01&to=2026-06-30"), "sales-by-month")

    assert [row[0] for row in rows][:4] == ["Jan 2026", "Feb 2026", "Mar 2026", "Apr 2026"]
    assert [row[2] for row in rows] == ["0", "0", "1", "1", "0", "0"]


def test_the_funnel_and_the_reasons_say_what_became_of_the_orders(
    analyst: Client, heard: Hear
) -> None:
    declined = placed("o2")
    heard(
        placed("o1"),
        *steps("o1"),
        declined,
        *steps("o2", 1),
        cancelled(declined, reason="payment_declined"),
        placed("o3"),
        *steps("o3", 2),
    )

    text = page(analyst)

    assert cells(text, "funnel") == [
        ["Placed", "3", "100.0%", "3", "0", "0"],
        ["Stock held", "3", "100.0%", "2", "0", "1"],
        ["Paid", "2", "66.7%", "1", "1", "0"],
        ["Shipped", "1", "33.3%", "1", "0", "0"],
        ["Delivered", "1", "33.3%", "1", "0", "0"],
    ]
    assert re.search("1 . the payment was declined", text)
    assert "<span>The payment was declined</span>" in text


def test_top_products_are_called_as_in_the_catalogue(analyst: Client, heard: Hear) -> None:
    heard(product("mouse", "Quiet mouse"), placed("o1", MOUSE), placed("o2", DESK))

    text = page(analyst)

    assert text.index("desk <span") < text.index("Quiet mouse <span")


def test_a_shop_with_two_currencies_shows_one_of_them(analyst: Client, heard: Hear) -> None:
    heard(placed("o1"), placed("o2", DESK, currency="EUR"))

    assert tiles(page(analyst))["Revenue"] == "$20.00"
    assert tiles(page(analyst, f"{MARCH}&currency=EUR"))["Revenue"] == "€200.00"
    assert tiles(page(analyst, f"{MARCH}&currency=SEK"))["Revenue"] == "$20.00"


def test_a_shop_without_orders_says_so(analyst: Client) -> None:
    assert "No orders yet" in page(analyst, "/analytics/")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("from=2026-03-02&to=2026-03-01", "before the first day"),
        ("from=2024-03-02&to=2026-03-01", "366 days at most"),
        ("from=0001-01-01&to=0001-01-02", "Choose days from 2000-01-01"),
        ("from=9999-01-01&to=9999-01-02", "Choose days from 2000-01-01"),
        ("from=yesterday&to=2026-03-01", "valid date"),
        ("to=2026-03-01", "required"),
        ("range=century", "valid choice"),
    ],
)
def test_days_that_make_no_sense_are_refused_with_a_word(
    query: str, says: str, analyst: Client
) -> None:
    answer = analyst.get(f"/analytics/?{query}")

    assert answer.status_code == 422
    assert says in answer.content.decode()


@pytest.mark.parametrize("name", ["today", "7d", "30d", "90d"])
def test_each_range_ends_today_and_stands_in_the_address(
    name: str, analyst: Client, heard: Hear
) -> None:
    heard(placed("o1", at=today_at(0)))

    text = page(analyst, f"/analytics/?range={name}")

    assert tiles(text)["Orders"] == "1"
    assert re.search(rf'href="\?range={name}" aria-current="page"', text)


@pytest.mark.parametrize("query", ["range=today", "range=30d", "range=90d"])
def test_the_number_of_queries_does_not_grow_with_orders(
    query: str,
    analyst: Client,
    heard: Hear,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    now = queries.now("main")
    heard(placed("o1", at=now))
    with django_assert_max_num_queries(MOST_QUERIES) as few:
        page(analyst, f"/analytics/?{query}")
    many = [placed(f"p{n}", DESK, customer_id=f"c{n}", at=now) for n in range(40)]
    heard(*many, tenant="busy")
    for model in read_models("analytics"):
        model._default_manager.filter(tenant="main").delete()
        model._default_manager.filter(tenant="busy").update(tenant="main")
    with django_assert_max_num_queries(len(few)):
        assert tiles(page(analyst, f"/analytics/?{query}"))["Orders"] == "40"


def test_pages_have_no_script_or_style_inside(analyst: Client, heard: Hear) -> None:
    heard(placed("o1"), *steps("o1"))

    text = page(analyst)

    assert "style=" not in text
    assert re.findall(r"<script(?![^>]*\bsrc=)|\bon\w+=\"", text) == []


# Who may


@pytest.mark.parametrize("address", ["/analytics/", "/analytics/days.csv"])
def test_only_analysts_see_figures(
    address: str, client_with: Callable[..., Client], settings: Settings
) -> None:
    settings.SHOP_OPEN = False
    customer = Client()
    customer.force_login(User.objects.create_user("c", tenant_id="main", customer_id="cust-1"))

    assert client_with("orders:read", "operations").get(address).status_code == 403
    assert customer.get(address).status_code == 403
    stranger = Client().get(address)
    assert stranger.status_code == 302
    assert stranger.headers["Location"].startswith("/shop/sign-in")


def test_another_tenant_has_its_own_figures(
    client_with: Callable[..., Client], heard: Hear
) -> None:
    Tenant.objects.create(slug="other", name="Other shop")
    heard(product("mouse", "Secret mouse"), placed("o1"), placed("o2"), *steps("o2"))
    heard(placed("o1", DESK), tenant="other")

    text = page(client_with("analytics:read", tenant="other"))

    assert tiles(text)["Orders"] == "1"
    assert tiles(text)["Revenue"] == "$200.00"
    assert "Secret" not in text
    assert cells(text, "funnel")[1][1] == "0"


# Live


def state_of(tenant: str, currency: str) -> Any:
    with connect("default") as conn:
        return conn.execute(queries.WATCHED_SALES, ([tenant], [currency])).fetchall()


@pytest.mark.django_db(transaction=True)
def test_what_is_watched_changes_with_every_order_and_is_what_the_page_shows(
    analyst: Client, heard: Hear
) -> None:
    heard(placed("o1", at=today_at(0)))

    text = page(analyst, "/analytics/")

    day = queries.today("main")
    ((_, _, state, is_last),) = state_of("main", "USD")
    assert (state.replace(" ", ""), is_last) == (
        f'{{"day":"{day}","placed":1,"cancelled":0}}',
        False,
    )
    shown = re.search(r'data-live-now="([^"]*)"', text)
    assert shown
    assert shown[1].replace("&quot;", '"').replace(" ", "") == state.replace(" ", "")
    assert state_of("main", "EUR") == state_of("other", "USD") == []


def test_days_that_are_over_are_not_live(analyst: Client) -> None:
    assert "data-live" not in page(analyst)
    assert live.PREFIX not in page(analyst)


def test_a_period_that_begins_with_a_leap_day_has_a_period_before(
    analyst: Client, heard: Hear
) -> None:
    heard(placed("o1"))

    text = page(analyst, "/analytics/?from=2024-02-29&to=2024-02-29")

    assert date(2024, 2, 29).strftime("%-d %B %Y") in text
