"""A real browser at a real server, as `manage.py serve` runs it, with a worker beside it.

Debian's Chromium is driven; nothing is downloaded. What a page says in the console, or asks of
another host, fails its test.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from django.core.management import call_command
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from ecommerce.identity import tenants
from ecommerce.messaging.worker import Worker
from tests.journeys.conftest import BackgroundWorker

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 30.0
SERVER = [sys.executable, "-m", "granian", "--interface", "asginl", "--host", "127.0.0.1"]
REFUSALS = ("status of 404", "status of 409", "status of 422")
"""What the console says of an answer that a test asks for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="package")
def address(django_db_setup: None) -> Iterator[str]:
    """Where the server is; its database is this process's."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*SERVER, "--port", str(port), "--log-level", "error", "ecommerce.asgi:application"]
    server = subprocess.Popen(command, env={**os.environ, "DEBUG": "0"})
    try:
        where = f"http://127.0.0.1:{port}"
        _wait_for(where, server)
        yield where
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            httpx.get(f"{address}/alive", trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Playwright's own loop runs in this thread, for which Django takes it to be asynchronous.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        expect.set_options(timeout=PATIENCE * 1000 / 2)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def shop(
    transactional_db: None, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The seeded shop with a worker at work."""
    # The worker's threads must not read tenants with connections that nobody closes.
    monkeypatch.setattr(tenants, "KEPT_SECONDS", 3600.0)
    tenants.forget()
    tenants.find("main")
    call_command("seed", verbosity=0)
    Worker().drain(10)
    worker = BackgroundWorker()
    worker.start()
    yield
    worker.stop()
    tenants.forget()


@pytest.fixture
def visit(browser: Browser, address: str, shop: None) -> Iterator[Callable[..., Page]]:
    """Opens a page in a new window of this width, for a visitor whom nobody knows."""
    complaints: list[str] = []
    contexts = []

    def listen(page: Page) -> None:
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("request", asked)

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(w in message.text for w in REFUSALS):
            complaints.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).hostname != "127.0.0.1" and not request.url.startswith("data:"):
            complaints.append(f"asks {request.url}")

    def opens(path: str, *, width: int = 1280, theme: str = "light", scripts: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if theme == "dark" else "light",
            java_script_enabled=scripts,
            has_touch=width < 600,
        )
        context.set_default_timeout(PATIENCE * 1000 / 2)
        contexts.append(context)
        page = context.new_page()
        listen(page)
        page.goto(f"{address}{path}")
        return page

    yield opens
    for context in contexts:
        context.close()
    assert complaints == []
