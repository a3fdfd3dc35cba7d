"""People buy: on a phone, signed in, with a card that fails, without JavaScript, by keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import contextmanager

from playwright.sync_api import Page, expect

from ecommerce.messaging import bus, database
from inventory.contracts import AdjustInventory
from tests.customers.shelves import DETAILS

Visit = Callable[..., Page]
ON_ITS_WAY = "It is on its way"


def put_a_scarf_into_the_cart(page: Page) -> None:
    page.get_by_role("link", name="Club Scarf").first.click()
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("Club Scarf is in your cart.")).to_be_visible()
    page.get_by_role("link", name=re.compile("^Cart")).last.click()
    with page.expect_navigation():
        page.get_by_role("link", name="Check out").click()


def fill_in(page: Page, card: str = "card_approved") -> None:
    for name, value in DETAILS.items():
        if name != "card":
            page.locator(f"[name={name}]").fill(value)
    page.locator(f"[value={card}]").check()


def place(page: Page) -> None:
    page.get_by_role("button", name="Place order").click()
    page.wait_for_url("**/shop/orders/*")


def is_as_wide_as_its_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@contextmanager
def nobody_charges():  # type: ignore[no-untyped-def]
    """The gateway's books are closed: calls wait at the first page."""
    with database.connect("default") as conn, conn.transaction():
        conn.execute("SET idle_in_transaction_session_timeout = 0")
        conn.execute("LOCK TABLE payments_simulatedcharge IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_guest_buys_on_a_phone(visit: Visit) -> None:
    page = visit("/", width=360)
    assert is_as_wide_as_its_window(page)
    with page.expect_navigation():
        page.get_by_role("link", name="Visit the shop").click()
    assert is_as_wide_as_its_window(page)

    put_a_scarf_into_the_cart(page)
    assert is_as_wide_as_its_window(page)
    fill_in(page)
    place(page)

    expect(page.get_by_role("heading", level=1)).to_have_text(ON_ITS_WAY)
    assert is_as_wide_as_its_window(page)
    page.get_by_role("link", name="Your orders").first.click()
    expect(page.get_by_text("Shipped")).to_be_visible()
    assert is_as_wide_as_its_window(page)


def test_what_is_touched_on_a_phone_is_large_enough(visit: Visit) -> None:
    for path in ("/shop/", "/shop/products/prod-456", "/shop/sign-in"):
        page = visit(path, width=360)
        small = page.evaluate(
            """[...document.querySelectorAll('a.nav-link, .pill, .button, button, select, .footer a, .input')]
               .filter(e => e.offsetParent && e.getBoundingClientRect().height < 44)
               .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert small == []


def test_a_customer_signs_up_and_their_cart_comes_along(visit: Visit) -> None:
    page = visit("/shop/products/prod-103")
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("Match Day Hoodie is in your cart.")).to_be_visible()

    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("link", name="Make an account").click()
    page.get_by_label("Full name").fill("Kim Doe")
    page.get_by_label("E-mail").fill("kim@example.test")
    page.get_by_label("Password").fill("a tide of events")
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("link", name=re.compile("^Cart")).last.click()
    with page.expect_navigation():
        page.get_by_role("link", name="Check out").click()
    expect(page.get_by_label("Full name")).to_have_value("Kim Doe")
    fill_in(page)
    place(page)

    expect(page.get_by_role("heading", level=1)).to_have_text(ON_ITS_WAY)


def test_an_order_goes_through_before_ones_eyes(visit: Visit) -> None:
    page = visit("/shop/")
    put_a_scarf_into_the_cart(page)
    fill_in(page)
    with nobody_charges():
        place(page)
        expect(page.locator("[data-state=now]")).to_contain_text("Charging the card")
        expect(page.get_by_text("Held for you until")).to_be_visible()
        page.evaluate("() => { document.body.dataset.same = 'page' }")

    expect(page.get_by_role("heading", level=1)).to_have_text(ON_ITS_WAY)
    expect(page.locator("[data-state=done]")).to_have_count(4)
    expect(page.locator("body[data-same=page]")).to_be_attached()


def test_a_declined_card_is_told_and_the_cart_filled_again(visit: Visit) -> None:
    page = visit("/shop/")
    put_a_scarf_into_the_cart(page)
    fill_in(page, "card_declined")
    place(page)

    expect(page.get_by_role("heading", level=1)).to_have_text("This order was cancelled")
    expect(page.get_by_text("Your card was not charged.")).to_be_visible()
    page.get_by_role("button", name="Put it into the cart again").click()
    expect(page.get_by_role("link", name="Club Scarf").last).to_be_visible()


def test_an_order_is_cancelled_while_its_card_is_charged(visit: Visit) -> None:
    page = visit("/shop/")
    put_a_scarf_into_the_cart(page)
    fill_in(page)
    with nobody_charges():
        place(page)
        expect(page.locator("[data-state=now]")).to_contain_text("Charging the card")
        page.get_by_text("Cancel this order").click()
        page.get_by_role("button", name="Cancel the order").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("We are cancelling it")

    expect(page.get_by_role("heading", level=1)).to_have_text("This order was cancelled")
    expect(page.get_by_text("You cancelled it.")).to_be_visible()


def test_what_sells_out_while_one_looks_at_it_cannot_be_bought(visit: Visit) -> None:
    page = visit("/shop/products/prod-109")
    expect(page.get_by_role("button", name="Add to cart")).to_be_visible()

    gone = AdjustInventory(product_id="prod-109", change=-35, reason="sold elsewhere")
    bus.execute(gone, tenant="main", actor="test")

    expect(page.get_by_text("Sold out")).to_be_visible()
    expect(page.get_by_role("button", name="Add to cart")).to_have_count(0)


def test_what_one_has_written_stays_while_the_stock_changes(visit: Visit) -> None:
    page = visit("/shop/products/prod-109")
    page.get_by_label("Quantity").fill("3")

    less = AdjustInventory(product_id="prod-109", change=-28, reason="sold elsewhere")
    bus.execute(less, tenant="main", actor="test")

    expect(page.get_by_text("Only 7 left")).to_be_visible()
    expect(page.get_by_label("Quantity")).to_have_value("3")


def test_the_cart_changes_in_place_and_the_focus_stays(visit: Visit) -> None:
    page = visit("/shop/products/prod-456")
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("Club Scarf is in your cart.")).to_be_visible()
    page.get_by_role("link", name=re.compile("^Cart")).last.click()

    page.get_by_role("button", name="One more").click()

    expect(page.locator(".line__total")).to_have_text("$39.98")
    expect(page.get_by_role("button", name="One more")).to_be_focused()
    expect(page.locator("#cart-link")).to_contain_text("2")
    page.get_by_role("button", name="One less").click()
    page.get_by_role("button", name="Take out").click()
    expect(page.get_by_text("Your cart is empty")).to_be_visible()


def test_searching_shows_what_fits_while_one_writes(visit: Visit) -> None:
    page = visit("/shop/")

    page.get_by_role("searchbox").press_sequentially("hoodie")

    expect(page.locator("article.product")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=hoodie"))
    page.reload()
    expect(page.locator("article.product")).to_have_count(1)


def test_without_javascript_one_can_buy(visit: Visit) -> None:
    page = visit("/shop/products/prod-456", scripts=False)
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_role("button", name="One more").click()
    expect(page.locator(".line__total")).to_have_text("$39.98")
    with page.expect_navigation():
        page.get_by_role("link", name="Check out").click()
    fill_in(page)
    place(page)

    # The page loads itself anew until the order has gone through.
    expect(page.get_by_role("heading", level=1)).to_have_text(ON_ITS_WAY)


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page = visit("/shop/products/prod-456")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "Add to cart")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Club Scarf is in your cart.")).to_be_visible()
    page.goto(page.url.replace("/products/prod-456", "/cart"))
    tab_to(page, "Check out")
    page.keyboard.press("Enter")
    page.wait_for_url("**/shop/checkout")
    page.get_by_label("Full name").focus()
    for value in (
        "Robin Carter",
        "robin@example.test",
        "",
        "12 Harbor Street",
        "62701",
        "Springfield",
        "IL",
    ):
        page.keyboard.type(value)
        page.keyboard.press("Tab")
    tab_to(page, "Place order")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(ON_ITS_WAY)


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what has this text has the focus, and shows it."""
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if text in focused.inner_text():
            assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab does not come to {text!r}")


def test_a_theme_that_was_chosen_is_kept(visit: Visit) -> None:
    page = visit("/shop/")
    switch = page.get_by_role("button", name="Dark colours")

    switch.click()
    page.reload()

    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
