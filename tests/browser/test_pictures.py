"""Pictures of all pages, for the documentation and for whoever wants to look: make screenshots.

They are written into docs/images: light and dark, at the widths of a phone, a tablet and a desk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from playwright.sync_api import Page

from orders.models import Order

pytestmark = [pytest.mark.pictures, pytest.mark.timeout(600)]

FOLDER = Path(settings.BASE_DIR) / "docs" / "images"
WIDTHS = (360, 768, 1440)
THEMES = ("light", "dark")
PAGES = {
    "landing": "/",
    "shop": "/shop/",
    "product": "/shop/products/prod-456",
    "cart": "/shop/cart",
    "sign-in": "/shop/sign-in",
    "console": "/console/",
    "console-orders": "/console/orders",
    "console-order": "/console/orders/{order}",
    "console-search": "/console/messages?q={order}",
    "console-workers": "/console/workers",
    "console-timers": "/console/timers",
    "console-letters": "/console/letters",
    "console-read-models": "/console/read-models",
    "console-mailbox": "/console/mailbox",
    "console-auditor": "/console/auditor",
    "console-chaos": "/console/chaos",
    "analytics": "/analytics/",
    "design": "/design/",
}


def test_pictures(visit: Callable[..., Page], address: str, shop: None) -> None:
    call_command("demo", "--url", address, "--orders", "120", "--rate", "20", "--no-audit")
    order = Order.objects.filter(status__in=["Shipped", "Delivered"]).latest("created_at").order_id
    FOLDER.mkdir(exist_ok=True)
    for theme in THEMES:
        for width in WIDTHS:
            page = visit("/", width=width, theme=theme)
            for name, path in PAGES.items():
                page.goto(address + path.format(order=order))
                page.wait_for_load_state("load")
                page.wait_for_timeout(700)  # charts draw themselves, and live pages begin
                page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=width < 1440)
