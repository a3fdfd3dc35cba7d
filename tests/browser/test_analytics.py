"""The dashboard in a browser: live, exported, drawn, walked through by keyboard, without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ecommerce.messaging import bus
from ecommerce.messaging.models import uuid7
from orders.contracts import CreateOrder, RequestedLine
from tests.browser.test_access import problems
from tests.browser.test_buying import Visit, is_as_wide_as_its_window
from tests.customers.shelves import SCARF, until

DASHBOARD = "/analytics/?range=today"


def order(customer_id: str = "cust-1") -> None:
    line = RequestedLine(product_id=SCARF, quantity=1)
    command = CreateOrder(order_id=str(uuid7()), customer_id=customer_id, lines=(line,))
    bus.execute(command, tenant="main", actor="test")


def tile(page: Page, title: str):  # type: ignore[no-untyped-def]
    return page.locator(".tile", has=page.get_by_role("heading", name=title)).locator(
        ".tile__value"
    )


def first_order(visit: Visit, **options: object) -> Page:
    """The dashboard of a shop that has sold something."""
    page = visit("/analytics/", **options)
    order()
    until(lambda: page.goto(page.url) and page.locator(".tile").count())
    page.goto(page.url.split("?")[0] + "?range=today")
    return page


def test_the_dashboard_follows_orders_while_one_looks(visit: Visit) -> None:
    page = first_order(visit)
    expect(tile(page, "Orders")).to_have_text("1")
    page.get_by_text("Table: sales by hour").click()

    order("cust-2")

    expect(tile(page, "Orders")).to_have_text("2")
    expect(tile(page, "Customers")).to_have_text("2")
    expect(page.locator("#hours-table")).to_be_visible()
    expect(page.locator(".funnel__step").first).to_contain_text("2")


def test_an_empty_dashboard_fills_by_itself(visit: Visit) -> None:
    page = visit(DASHBOARD)
    expect(page.get_by_role("heading", name="No orders yet")).to_be_visible()

    order()

    expect(tile(page, "Orders")).to_have_text("1")
    expect(page.locator("canvas").first).to_be_visible()


def test_charts_are_drawn_and_can_be_walked_through_by_keyboard(visit: Visit) -> None:
    page = first_order(visit)
    chart = page.get_by_role("group", name="Chart: Revenue").first
    expect(chart.locator("canvas")).to_be_visible()

    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(chart.locator(".chart__says")).to_contain_text("00:00 · Revenue $")
    page.keyboard.press("ArrowRight")
    expect(chart.locator(".chart__says")).to_contain_text("01:00")


def test_a_range_is_chosen_by_keyboard_and_stands_in_the_address(visit: Visit) -> None:
    page = first_order(visit)

    page.get_by_role("link", name="90 days").focus()
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile(r"range=90d"))
    expect(page.get_by_role("link", name="90 days")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("heading", name="Sales by day")).to_be_visible()


def test_a_table_is_saved_as_a_file(visit: Visit) -> None:
    page = first_order(visit)

    with page.expect_download() as download:
        page.get_by_role("link", name="Top products as CSV").click()

    assert re.fullmatch(r"analytics-products-.*-USD\.csv", download.value.suggested_filename)
    saved = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert saved.splitlines()[1].startswith(f"Club Scarf,{SCARF},")


def test_it_says_everything_without_javascript(visit: Visit) -> None:
    page = first_order(visit, scripts=False)

    expect(tile(page, "Orders")).to_have_text("1")
    expect(page.locator(".chart").first).to_be_hidden()
    page.get_by_text("Table: sales by hour").click()
    expect(page.locator("#hours-table")).to_be_visible()
    page.locator("[name=from]").fill("2026-01-01")
    page.locator("[name=to]").fill("2026-01-31")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("1 January 2026 to 31 January 2026")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_has_no_serious_problem(visit: Visit, theme: str, width: int) -> None:
    page = first_order(visit, theme=theme, width=width)
    for summary in page.locator("summary").all():
        summary.click()

    assert problems(page) == []
    assert is_as_wide_as_its_window(page)
