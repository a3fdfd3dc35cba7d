"""The desk, chaos and the crowd in a browser, with worker processes that can be killed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from django.conf import settings
from django.core.management import call_command
from playwright.sync_api import Page, Route, expect

from ecommerce.console import processes
from ecommerce.identity import tenants
from ecommerce.messaging.fleet import fleet
from ecommerce.messaging.worker import Worker
from tests.browser.test_access import problems
from tests.browser.test_buying import Visit
from tests.journeys.shop import Shop, until
from tests.web.test_dead_letters import stored

PATIENCE = 60.0
PLACES = ("/console/letters", "/console/chaos", "/console/demo")


def workers() -> list[processes.Process]:
    return processes.here(fleet()[0])


@pytest.fixture
def shop(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The seeded shop with two worker processes under one supervisor."""
    tenants.forget()
    call_command("seed", verbosity=0)
    Worker().drain(10)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "runworker"]
    supervisor = subprocess.Popen([*command, "--processes", "2"])
    until(lambda: len(workers()) == 2, seconds=PATIENCE)
    yield
    supervisor.terminate()
    supervisor.wait(40)
    tenants.forget()


@pytest.fixture
def api(address: str) -> Iterator[Shop]:
    with httpx.Client(base_url=address, timeout=15, trust_env=False) as http:
        yield Shop(http)


def has_arrived(api: Shop, order: str) -> bool:
    return api.summary(order)["status"] in ("Shipped", "Delivered")


@pytest.mark.timeout(240)
def test_a_killed_worker_costs_no_order_and_the_audit_stays_green(visit: Visit, api: Shop) -> None:
    # given the panel, with both workers on it
    page = visit("/console/chaos")
    kills = page.get_by_role("button", name="Kill process")
    expect(kills).to_have_count(2)
    known = {each.pid for each in workers()}

    # when orders come in, one worker is killed, and more come in
    orders = [api.order() for _ in range(5)]
    kills.first.click()
    expect(page.get_by_role("status").filter(has_text="was killed")).to_be_visible()
    orders += [api.order() for _ in range(5)]

    # then the page counts them by itself, and each of them arrives
    expect(page.locator("[data-text=placed]")).to_have_text("10")
    until(lambda: all(has_arrived(api, order) for order in orders), seconds=PATIENCE)

    # and another worker stands in the place of the one that is gone
    until(lambda: {each.pid for each in workers()} - known, seconds=PATIENCE)
    expect(page.get_by_role("button", name="Kill process")).to_have_count(2, timeout=30_000)

    # and the auditor finds that everything holds
    page.get_by_role("button", name="Ask the auditor").click()
    expect(page.locator("[data-text=verdict]")).to_have_text(
        re.compile(r"All \d+ hold"), timeout=PATIENCE * 1000
    )


def test_a_fault_is_listed_until_it_is_ended(visit: Visit) -> None:
    page = visit("/console/chaos", width=360)
    expect(page.get_by_text("Nothing is broken on purpose.")).to_be_visible()

    page.get_by_role("button", name="Begin the trouble of the Carrier").click()
    expect(page.get_by_text("Loses its answers. Until")).to_be_visible()
    page.locator(".fault-line").get_by_role("button").click()

    expect(page.get_by_text("Nothing is broken on purpose.")).to_be_visible()


def test_what_somebody_else_breaks_is_heard_of(visit: Visit) -> None:
    page, other = visit("/console/chaos"), visit("/console/chaos")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()

    other.get_by_role("button", name="Rest", exact=True).click()

    expect(page.get_by_text("Deliveries to orders rest", exact=True)).to_be_visible()


def broken_before_it_is_live(visit: Visit, *, digests: bool = True) -> Page:
    """A page that was drawn before something broke, and has heard of the shop since."""
    page, other = visit("/console/chaos"), visit("/console/chaos")
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/events/**", hold)
    page.reload()
    if not digests:
        page.evaluate(
            "document.querySelectorAll('[data-digest]').forEach(e => e.removeAttribute('data-digest'))"
        )
    page.evaluate(
        "document.querySelector('[data-live]').addEventListener('live', e => e.target.dataset.heard = 1)"
    )
    other.get_by_role("button", name="Rest", exact=True).click()
    expect(other.get_by_text("Deliveries to orders rest", exact=True)).to_be_visible()
    expect(page.get_by_text("Nothing is broken on purpose.")).to_be_visible()
    for route in waiting:
        route.continue_()
    expect(page.locator("[data-heard]")).to_be_visible()
    return page


def test_what_breaks_before_the_page_is_live_is_heard_of(visit: Visit) -> None:
    page = broken_before_it_is_live(visit)

    expect(page.get_by_text("Deliveries to orders rest", exact=True)).to_be_visible()


def test_control_without_the_digest_of_what_it_shows_it_is_not(visit: Visit) -> None:
    page = broken_before_it_is_live(visit, digests=False)

    expect(page.get_by_text("Nothing is broken on purpose.")).to_be_visible()


def test_a_dead_letter_is_sent_out_again_and_resolved(visit: Visit) -> None:
    stored(cause="c0ffee")
    page = visit("/console/letters")

    page.get_by_role("link", name="Look").click()
    page.get_by_role("button", name="Send out again all of this cause").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Send 1 letter out again?")
    page.get_by_label("Why").fill("the provider is back")
    page.get_by_role("button", name="Send 1 letter").click()

    expect(page.get_by_text("1 letter is sent out again.")).to_be_visible()
    page.goto(f"{page.url.split('?')[0]}?state=resolved")
    for _ in range(40):
        if page.get_by_role("link", name="notifications.SendNotification").count():
            break
        page.wait_for_timeout(500)
        page.reload()
    page.get_by_role("link", name="notifications.SendNotification").click()
    expect(page.locator("#state")).to_have_text("Resolved")
    expect(page.get_by_text("the provider is back")).to_be_visible()


def test_a_letter_is_chosen_by_keyboard_and_without_scripts(visit: Visit) -> None:
    stored()
    page = visit("/console/letters", scripts=False)

    page.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Hold those chosen").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Hold 1 letter").click()

    expect(page.locator(".badge", has_text="Held")).to_be_visible()


@pytest.mark.timeout(240)
def test_a_crowd_is_watched_while_it_orders(visit: Visit) -> None:
    page = visit("/console/demo")

    page.get_by_label("Orders a second").fill("10")
    page.get_by_label("For", exact=True).select_option("30 seconds")
    page.get_by_role("button", name="Send a crowd").click()
    expect(page.get_by_text("A crowd is on its way.")).to_be_visible()

    ended = page.locator("[data-text='crowd.ended']")
    expect(ended).not_to_have_text("0", timeout=PATIENCE * 1000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send a crowd")).to_be_visible(timeout=PATIENCE * 1000)
    expect(page.locator("#crowd .badge")).to_have_text("Done")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_have_no_serious_problem(visit: Visit, theme: str) -> None:
    letter = stored(error='  File "x.py", line 1\nBoom: no')
    about = f"/console/letters/notifications/{letter.pk}"
    confirming = "/console/letters/confirm?decision=retry&among=all&cause=c0ffee"
    stored("o2")
    found = []
    for width in (360, 1280):
        page = visit("/console/chaos", theme=theme, width=width)
        root = page.url.removesuffix("/console/chaos")
        page.get_by_role("button", name="Rest", exact=True).click()
        for path in (*PLACES, about, confirming):
            page.goto(root + path)
            found += problems(page)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found += [f"{path} is {wide} px too wide at {width}"] * (wide > 0)
        page.goto(root + about)
        with page.expect_navigation():
            page.get_by_role("button", name="Try it").click()
        found += problems(page)

    assert found == []
