"""The shipped texts, as customers read them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ecommerce.values import Address, Money
from notifications.models import PARTS, TEMPLATES, compiled, render

ORDER: dict[str, Any] = {
    "name": "Ada & <Co>",
    "order_id": "0192f0c1-2b5e-7c3a-9f00-1a2b3c4d5e6f",
    "ordered_at": datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    "lines": [
        {
            "name": 'Widget "5 < 6"',
            "quantity": 2,
            "unit_price": Money(1999, "USD"),
            "total": Money(3998, "USD"),
        },
        {
            "name": "Gadget",
            "quantity": 1,
            "unit_price": Money(500, "USD"),
            "total": Money(500, "USD"),
        },
    ],
    "address": Address("1 Main Street", "Springfield", "IL", "62701", "US"),
    "has_extras": False,
    "subtotal": Money(4498, "USD"),
    "discount": Money(0, "USD"),
    "shipping": Money(0, "USD"),
    "tax": Money(0, "USD"),
    "total": Money(4498, "USD"),
}
PAYMENT: dict[str, Any] = {
    "name": "Ada",
    "order_id": ORDER["order_id"],
    "amount": Money(4498, "USD"),
    "transaction_id": "txn_1",
    "paid_at": datetime(2026, 3, 2, 23, 59, tzinfo=UTC),
}
SHIPMENT: dict[str, Any] = {
    "name": "Ada",
    "order_id": ORDER["order_id"],
    "carrier": "SwiftParcel",
    "tracking_number": "SP12345678901234567",
    "estimated_delivery": date(2026, 3, 6),
    "collection": False,
}


def test_every_template_is_shipped_with_all_parts_of_its_channel() -> None:
    for template_id, channel in TEMPLATES.items():
        for part in PARTS[channel]:
            assert compiled(template_id, part, None)


def test_only_html_is_escaped() -> None:
    texts = render("order_confirmation.email", None, ORDER)

    assert "Hello Ada & <Co>," in texts.text
    assert '2 x Widget "5 < 6" at 19.99 USD: 39.98 USD' in texts.text
    assert "Hello Ada &amp; &lt;Co&gt;," in texts.html
    assert "Widget &quot;5 &lt; 6&quot;" in texts.html
    assert "<Co>" not in texts.html


def test_a_subject_is_one_line() -> None:
    own = SimpleNamespace(subject="Hello {{ name }}", text="", html="")

    texts = render(
        "order_confirmation.email",
        own,  # type: ignore[arg-type]
        ORDER | {"name": "Ada\r\nBcc: eve@example.com"},
    )

    assert texts.subject == "Hello Ada Bcc: eve@example.com"


def test_extras_are_listed_only_when_there_are_any() -> None:
    plain = render("order_confirmation.email", None, ORDER)
    extras = ORDER | {
        "has_extras": True,
        "discount": Money(100, "USD"),
        "tax": Money(50, "USD"),
        "total": Money(4448, "USD"),
    }

    listed = render("order_confirmation.email", None, extras)

    assert "Subtotal" not in plain.text + plain.html
    assert (
        "\n  Subtotal: 44.98 USD\n  Discount: -1.00 USD\n  Tax: 0.50 USD\n  Total: 44.48 USD\n"
        in listed.text
    )
    assert "Discount" in listed.html
    assert "Shipping</td>" not in listed.html


def test_an_order_without_an_address_is_to_be_collected() -> None:
    texts = render("order_confirmation.email", None, ORDER | {"address": None})

    for text in (texts.text, texts.html):
        assert "collect your order at our warehouse" in text
        assert "We will send it to" not in text


def test_a_customer_without_a_name_is_greeted_all_the_same() -> None:
    texts = render("payment_receipt.email", None, PAYMENT | {"name": ""})

    assert texts.text.startswith("Hello,\n\nWe received your payment.")
    assert '<p style="margin:0 0 16px">Hello,</p>' in texts.html


def test_a_receipt_says_what_was_paid_when_and_under_which_reference() -> None:
    texts = render("payment_receipt.email", None, PAYMENT)

    assert texts.subject == "We received your payment of 44.98 USD"
    assert texts.text == (
        "Hello Ada,\n\nWe received your payment. Thank you!\n\n"
        "  Amount: 44.98 USD\n  Date: 2 March 2026\n"
        f"  Order: {PAYMENT['order_id']}\n  Reference: txn_1\n\n"
        "Please keep this message as your receipt. We are now preparing your order.\n\n"
        "Thank you for shopping with us."
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            SHIPMENT,
            (
                f"Your order {SHIPMENT['order_id']} is on its way with SwiftParcel, expected 6 Mar. "
                "Tracking: SP12345678901234567"
            ),
        ),
        (
            SHIPMENT | {"carrier": "Warehouse collection", "collection": True},
            (
                f"Your order {SHIPMENT['order_id']} can be collected at our warehouse from 6 Mar. "
                "Collection number: SP12345678901234567"
            ),
        ),
    ],
)
def test_an_sms_fits_into_one_message(values: dict[str, Any], text: str) -> None:
    texts = render("shipment.sms", None, values)

    assert texts == ("", text, "")
    assert len(texts.text) <= 160
