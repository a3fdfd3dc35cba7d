"""The admin and the API's documentation under their policies, and a customer's choices.

The browser complains in its console of what a policy forbids, and `visit` fails the test then.
"""

from __future__ import annotations

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from ecommerce.identity.models import User
from tests.browser.test_access import problems
from tests.browser.test_buying import Visit, is_as_wide_as_its_window
from tests.customers.shelves import add, check_out


def sign_in(page: Page) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("keeper", tenant_id="main"))
    session = client.cookies["sessionid"].value
    where = "/".join(page.url.split("/")[:3])
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": where}])
    go(page, "/admin/")
    expect(page.get_by_role("heading", name="Latest orders")).to_be_visible()


def have_an_account(page: Page) -> None:
    page.get_by_label("Full name").fill("Kim Doe")
    page.get_by_label("E-mail").fill("kim@example.test")
    page.get_by_label("Password").fill("a tide of events")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_text("Welcome, Kim Doe.")).to_be_visible()
    go(page, "/shop/account")


def go(page: Page, path: str) -> None:
    page.goto("/".join(page.url.split("/")[:3]) + path)


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1440)])
def test_the_admin_works_under_its_policy(visit: Visit, theme: str, width: int) -> None:
    # given
    guest = Client()
    add(guest)
    check_out(guest)
    page = visit("/admin/login/", theme=theme, width=width)
    sign_in(page)
    assert is_as_wide_as_its_window(page)
    assert problems(page) == []
    # when a list is filtered
    go(page, "/admin/customers/ordersummary/")
    page.get_by_text("Filters").first.click()
    expect(page.get_by_role("button", name="Apply Filters")).to_be_visible()
    assert is_as_wide_as_its_window(page)
    # and a row, a log, a form and an action are looked at
    go(page, "/admin/customers/ordersummary/")
    page.locator("table a[href*='/change/']").first.click()
    expect(page.get_by_role("navigation", name="This order")).to_be_visible()
    assert is_as_wide_as_its_window(page)
    for path in ("/admin/orders/orderslogentry/", "/admin/notifications/template/add/"):
        go(page, path)
        expect(page.locator("#main")).to_be_visible()
        assert is_as_wide_as_its_window(page)


def test_the_apis_documentation_works_under_its_policy(visit: Visit) -> None:
    page = visit("/api/docs")

    page.get_by_role("button", name="POST /api/orders", exact=False).first.click()

    expect(page.get_by_role("button", name="Try it out")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_customer_chooses_what_they_are_told(visit: Visit, scripts: bool) -> None:
    # given
    page = visit("/shop/sign-up", width=360, scripts=scripts)
    have_an_account(page)
    # when
    page.get_by_label("Receipts").uncheck()
    page.get_by_label("Quiet from").select_option("22:00")
    page.get_by_role("button", name="Save choices").click()
    # then half a choice is refused
    expect(page.get_by_text("Choose two different hours")).to_be_visible()
    assert is_as_wide_as_its_window(page)
    # and a whole one is kept
    page.get_by_label("Until").select_option("07:00")
    page.get_by_role("button", name="Save choices").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_label("Receipts")).not_to_be_checked()
    expect(page.get_by_label("Parcels")).to_be_checked()
    expect(page.get_by_label("Quiet from")).to_have_value("22")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_account_has_no_serious_problem(visit: Visit, theme: str) -> None:
    page = visit("/shop/sign-up", theme=theme)
    have_an_account(page)
    found = problems(page)
    page.get_by_label("Quiet from").select_option("22:00")
    page.get_by_role("button", name="Save choices").click()
    expect(page.get_by_text("Choose two different hours")).to_be_visible()

    assert found + problems(page) == []
