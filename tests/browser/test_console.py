"""The console as operators use it: live, in both themes, on a phone and without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from notifications.queries import notifications
from tests.browser.test_access import problems
from tests.browser.test_buying import Visit, is_as_wide_as_its_window
from tests.customers.shelves import until
from tests.messaging.ordering import place

PLACES = ("", "workers", "timers", "messages", "messages?q=cust-123", "mailbox")


def order() -> str:
    """Place one of the seeded products for a known customer; the address of a mail about it."""
    place("one", {"prod-456": 1}, customer="cust-123")
    (found, *_) = until(lambda: notifications("main", order_id="one").filter(status="Sent"))
    return f"/console/mailbox/{found.notification_id}"


def go(page: Page, path: str) -> None:
    page.goto("/".join(page.url.split("/")[:3]) + path)


def test_the_overview_is_live_when_an_order_is_placed(visit: Visit) -> None:
    page = visit("/console/", width=1440)
    expect(page.locator("[data-live-state=open]")).to_be_visible()
    expect(page.locator("[data-text='total.orders']")).to_have_text("0")
    page.evaluate("() => { document.body.dataset.same = 'page' }")

    order()

    expect(page.locator("[data-text='total.orders']")).to_have_text("1")
    expect(page.locator("[data-flow='people-orders']")).to_have_attribute("data-pace", "1")
    expect(page.locator("[data-flow='orders-inventory']")).to_have_attribute("data-pace", "1")
    expect(page.locator("[data-mood-of=orders]")).to_have_attribute("data-mood", "busy")
    expect(page.locator("body[data-same=page]")).to_be_attached()


def test_nothing_moves_for_those_who_want_less_motion(visit: Visit) -> None:
    page = visit("/console/", width=1440)
    order()
    expect(page.locator("[data-flow='people-orders']")).to_have_attribute("data-pace", "1")
    moving = "e => getComputedStyle(e).animationName"
    flow = page.locator("[data-flow='people-orders']")
    assert flow.evaluate(moving) == "flow"

    page.emulate_media(reduced_motion="reduce")

    assert flow.evaluate(moving) == "none"


def test_the_overview_is_a_snapshot_without_scripts(visit: Visit) -> None:
    order()
    page = visit("/console/", scripts=False)

    expect(page.locator("[data-text='total.orders']")).to_have_text("1")
    expect(page.get_by_text("Connecting")).not_to_be_visible()


def test_an_order_is_followed_from_a_message_to_its_mail(visit: Visit) -> None:
    order()
    page = visit("/console/messages")
    page.get_by_role("link", name="orders.OrderCreated").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("orders.OrderCreated")
    expect(page.get_by_role("cell", name="notifications.confirm_order")).to_be_visible()
    expect(page.get_by_label("Content", exact=True)).to_contain_text('"order_id": "one"')

    page.get_by_label("Console").get_by_role("link", name="Mailbox").click()
    page.get_by_role("searchbox").fill("one")
    page.get_by_role("searchbox").press("Enter")
    page.get_by_role("link", name=re.compile("^Order confirmation")).click()

    mail = page.frame_locator("iframe").get_by_role("heading", name="Thank you for your order")
    expect(mail).to_be_visible()


def test_workers_are_seen_to_hold_everything(visit: Visit) -> None:
    page = visit("/console/workers")
    strip = page.get_by_role("img", name="Orders: 64 partitions, 0 held by nobody")
    expect(strip).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_console_has_no_serious_problem(visit: Visit, theme: str, width: int) -> None:
    mail = order()
    page = visit("/console/", theme=theme, width=width)
    found = []
    for path in [*(f"/console/{name}" for name in PLACES), mail]:
        go(page, path)
        found += problems(page)
        if not is_as_wide_as_its_window(page):
            found.append(f"{path} is wider than its window")
    go(page, "/console/messages")
    page.get_by_role("link", name="orders.OrderCreated").first.click()
    page.wait_for_url("**/messages/orders/*")
    found += problems(page)

    assert found == []


def test_where_one_is_stands_in_sight_on_a_phone(visit: Visit) -> None:
    page = visit("/console/mailbox", width=360)

    expect(page.locator(".console__place[aria-current]")).to_be_in_viewport()
