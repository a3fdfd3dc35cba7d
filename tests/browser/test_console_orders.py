"""Operators watch an order, travel through its past, rebuild read models and ask the auditor."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from customers.models import OrderSummary
from ecommerce.messaging import rebuilder
from inventory.models import StockItem
from orders.models import Order
from tests.browser.test_access import problems
from tests.browser.test_buying import (
    fill_in,
    is_as_wide_as_its_window,
    nobody_charges,
    place,
    put_a_scarf_into_the_cart,
)

Visit = Callable[..., Page]


@pytest.fixture(autouse=True)
def _eager_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker looks more often for what people ask for."""
    monkeypatch.setattr(rebuilder, "LOOK_SECONDS", 0.3)


def buy(visit: Visit) -> str:
    """Order a scarf; the order's id."""
    page = visit("/shop/")
    put_a_scarf_into_the_cart(page)
    fill_in(page)
    place(page)
    return order_id(page)


def order_id(page: Page) -> str:
    found = re.search(r"/shop/orders/([^?]+)", page.url)
    assert found
    return found[1]


def test_an_order_is_watched_while_it_goes_through(visit: Visit) -> None:
    shop = visit("/shop/")
    put_a_scarf_into_the_cart(shop)
    fill_in(shop)
    with nobody_charges():
        place(shop)
        page = visit(f"/console/orders/{order_id(shop)}")
        expect(page.locator("#live .badge").first).to_have_text("Reserved")
        expect(page.locator(".hop--pending")).to_have_count(1)
        page.evaluate("() => { document.body.dataset.same = 'page' }")

    expect(page.locator("#live .badge").first).to_have_text("Shipped")
    expect(page.locator(".hop__label", has_text="buy_label").first).to_be_visible()
    expect(page.locator("#moment h3")).to_contain_text(
        re.compile("OrderShipped|InventoryCommitted")
    )
    expect(page.locator("body[data-same=page]")).to_be_attached()


def test_the_slider_travels_through_the_order(visit: Visit) -> None:
    order = buy(visit)
    page = visit(f"/console/orders/{order}")
    expect(page.locator("#live .badge").first).to_have_text("Shipped")
    slider = page.get_by_role("slider")

    slider.focus()
    page.keyboard.press("Home")

    expect(page.locator("#moment h3")).to_contain_text("OrderCreated")
    expect(page.locator("[data-then]")).to_have_text(["Pending"])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#moment h3")).to_contain_text("OrderReserved")
    expect(page.locator(".column--new", has_text="status").locator("del")).to_have_text("Pending")
    expect(page.locator(".column--new", has_text="status").locator("ins")).to_have_text("Reserved")
    expect(page.get_by_text("now Shipped").first).to_be_visible()
    expect(slider).to_be_focused()


def test_without_javascript_one_goes_from_event_to_event(visit: Visit) -> None:
    order = buy(visit)
    page = visit(f"/console/orders/{order}?at=2", scripts=False)

    page.get_by_role("link", name="Previous event").click()

    expect(page.locator("[data-then]")).to_have_text(["Pending"])
    expect(page.get_by_role("slider")).to_have_value("1")


def test_the_list_is_found_in_while_one_writes(visit: Visit) -> None:
    order = buy(visit)
    page = visit("/console/orders")
    expect(page.locator(".order-id")).to_have_text([order])

    page.get_by_label("Status").select_option("Cancelled")

    expect(page.get_by_text("No order fits")).to_be_visible()
    expect(page).to_have_url(re.compile("status=Cancelled"))


def test_a_read_model_is_rebuilt_and_shows_how_far_it_is(visit: Visit) -> None:
    buy(visit)
    page = visit("/console/read-models")
    page.evaluate("() => { document.body.dataset.same = 'page' }")
    expect(page.locator("body[data-same=page]")).to_be_attached()

    page.get_by_role("button", name="Compare customers.OrderSummary").click()
    expect(page.get_by_text("As the events give").first).to_be_visible()
    OrderSummary.objects.update(status="Pending")
    page.get_by_role("button", name="Rebuild customers.OrderSummary").click()

    expect(page.get_by_text("Rebuilt, 1 mended").first).to_be_visible()
    assert not OrderSummary.objects.filter(status="Pending").exists()


def test_the_auditor_is_green_and_red_when_stock_is_changed_by_hand(visit: Visit) -> None:
    order = buy(visit)
    page = visit(f"/console/orders/{order}")
    expect(page.locator("#live .badge").first).to_have_text("Shipped")
    page.goto(page.url.replace(f"/orders/{order}", "/auditor"))

    page.get_by_role("button", name="Ask now").click()
    expect(page.get_by_text("All is well")).to_be_visible()

    StockItem.objects.filter(product_id="prod-456").update(on_hand=7)
    Order.objects.filter(order_id=order).update(customer_id="somebody-else")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".verdict--bad")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Stock on hand and reserved is the sum")).to_be_visible()
    page.get_by_role("link", name=re.compile("^Order ")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(order)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_use_these_pages(visit: Visit, theme: str, width: int) -> None:
    order = buy(visit)
    for path in ("orders", f"orders/{order}?at=3", "read-models", "auditor"):
        page = visit(f"/console/{path}", width=width, theme=theme)
        if path == "auditor":
            page.get_by_role("button", name="Ask").click()
            expect(page.locator(".verdict--good")).to_be_visible()
        page.evaluate("() => document.querySelectorAll('details').forEach((e) => (e.open = true))")
        assert problems(page) == []
        assert is_as_wide_as_its_window(page), path
