"""Every page can be used with a screen reader and with weak eyes: axe finds nothing serious."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_buying import Visit, fill_in, place, put_a_scarf_into_the_cart

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
PAGES = (
    "/",
    "/design/",
    "/shop/",
    "/shop/?q=nothing-like-this",
    "/shop/products/prod-456",
    "/shop/cart",
    "/shop/sign-in",
    "/shop/sign-up",
    "/nowhere",
)


def problems(page: Page) -> list[str]:
    """What axe finds that is serious or worse."""
    # The page's own policy forbids scripts from elsewhere, so it comes in through the debugger.
    page.evaluate(f"() => {{ {AXE} }}")
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url} {violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pages_have_no_serious_problem(visit: Visit, theme: str, width: int) -> None:
    page = visit(PAGES[0], theme=theme, width=width)
    found = []
    for path in PAGES:
        page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/")[2] + path)
        found += problems(page)

    assert found == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_way_to_an_order_has_no_serious_problem(visit: Visit, theme: str) -> None:
    page = visit("/shop/", theme=theme)
    put_a_scarf_into_the_cart(page)
    found = problems(page)
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found += problems(page)
    fill_in(page, "card_declined")
    place(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("This order was cancelled")
    found += problems(page)
    with page.expect_navigation():
        page.get_by_role("link", name="Your orders").first.click()
    found += problems(page)

    assert found == []


def test_control_a_picture_without_a_text_and_pale_words_are_found(visit: Visit) -> None:
    page: Page = visit("/shop/")
    spoil: Callable[[str], object] = page.evaluate
    spoil("() => { document.querySelector('h1').innerHTML = '<img src=/static/web/mark.svg>' }")

    assert any("image-alt" in problem for problem in problems(page))
