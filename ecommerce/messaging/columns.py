"""How the admin shows what a column holds: statuses, money, times and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import admin
from django.utils.html import format_html
from django.utils.timezone import localtime
from unfold.decorators import display

from ecommerce.values import Money

COLOURS = {
    **dict.fromkeys(("Delivered", "Sent", "Captured", "Committed", "done", "captured"), "success"),
    **dict.fromkeys(("Cancelled", "Failed", "Insufficient", "failed", "declined"), "danger"),
    **dict.fromkeys(("Cancelling", "Exception", "Undeliverable", "Waiting"), "warning"),
    **dict.fromkeys(("Pending", "Reserved", "Paid", "Requested", "Queued", "Created"), "info"),
    **dict.fromkeys(("Shipped", "InTransit"), "primary"),
    "waiting": "warning",
    "held": "info",
    "retrying": "primary",
    "resolved": "success",
    "given_up": "danger",
}


def labelled(field: str, title: str = "") -> Callable[[Any], object]:
    """A column that shows a status as a coloured label."""

    @display(description=title or field.replace("_", " "), label=COLOURS)  # type: ignore[untyped-decorator]
    def column(row: Any) -> object:
        return getattr(row, field) or "—"

    return column  # type: ignore[no-any-return]


def money(field: str, title: str = "") -> Callable[[Any], object]:
    """A column that shows minor units of the row's currency as people write them."""

    @admin.display(description=title or field.replace("_", " "))
    def column(row: Any) -> object:
        amount = getattr(row, field)
        return "—" if amount is None or not row.currency else str(Money(amount, row.currency))

    return column


def instant(field: str, title: str = "") -> Callable[[Any], object]:
    """A column that shows a time to the second: what is listed happened in the same minute."""

    @admin.display(description=title or field.replace("_", " "))
    def column(row: Any) -> object:
        at = getattr(row, field)
        return "—" if at is None else f"{localtime(at):%Y-%m-%d\u00a0%H:%M:%S}"

    return column


def structured(field: str, title: str = "") -> Callable[[Any], object]:
    """A column that shows JSON on lines of its own, whether it is stored as text or not."""

    @admin.display(description=title or field.replace("_", " "))
    def column(row: Any) -> object:
        value = getattr(row, field)
        if not value:
            return "—"
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return format_html(
            '<pre class="font-mono whitespace-pre-wrap">{}</pre>', msgspec.json.format(text)
        )

    return column
