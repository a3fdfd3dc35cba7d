"""The shipped texts, as customers read them, and what a tenant's own may do."""

from __future__ import annotations

import builtins
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import jinja2
import pytest

from ecommerce.values import Address, Money
from notifications.models import PARTS, TEMPLATES, Template
from notifications.texts import EXAMPLES, Unrenderable, check, render

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


def own(**parts: str) -> Template:
    return Template(tenant="main", **({"subject": "", "text": "", "html": ""} | parts))


@pytest.mark.parametrize("template_id", TEMPLATES)
def test_every_template_is_shipped_with_all_parts_of_its_channel(template_id: str) -> None:
    for values in EXAMPLES[template_id]:
        texts = render(template_id, None, values)

        assert all(getattr(texts, part) for part in PARTS[TEMPLATES[template_id]])


def test_only_html_is_escaped() -> None:
    texts = render("order_confirmation.email", None, ORDER)

    assert "Hello Ada & <Co>," in texts.text
    assert '2 x Widget "5 < 6" at 19.99 USD: 39.98 USD' in texts.text
    assert "Hello Ada &amp; &lt;Co&gt;," in texts.html
    assert "Widget &#34;5 &lt; 6&#34;" in texts.html
    assert "<Co>" not in texts.html


def test_a_subject_is_one_line_of_at_most_300_characters() -> None:
    texts = render(
        "order_confirmation.email",
        own(subject="Hello {{ name }}"),
        ORDER | {"name": "Ada\r\nBcc: eve@example.com" + "!" * 300},
    )

    assert texts.subject.startswith("Hello Ada Bcc: eve@example.com!!!")
    assert len(texts.subject) == 300


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


def test_a_day_is_said_in_the_offset_that_it_came_with() -> None:
    evening = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    source = '{{ ordered_at|date }}, {{ ordered_at|date("D d.m.y H:i") }}'

    here = render("order_confirmation.email", own(text=source), ORDER | {"ordered_at": evening})
    there = render(
        "order_confirmation.email",
        own(text=source),
        ORDER | {"ordered_at": evening.astimezone(UTC)},
    )

    assert here.text == "1 March 2026, Sun 01.03.26 23:30"
    assert there.text == "2 March 2026, Mon 02.03.26 04:30"


def test_what_is_not_there_is_empty() -> None:
    source = "({{ address.street }}{{ lines[7].name.first }}{% if address %}!{% endif %})"

    texts = render("order_confirmation.email", own(text=source), ORDER | {"address": None})

    assert texts.text == "()"


def test_html_is_escaped_once_and_always() -> None:
    source = (
        "{{ name }} {{ address.street ~ name }} {{ name|upper }} {{ '<i>' }}"
        "{% autoescape false %} {{ name }}{% endautoescape %}"
    )

    texts = render(
        "order_confirmation.email", own(html=source), ORDER | {"name": "<a>", "address": None}
    )

    assert texts.html == "&lt;a&gt; &lt;a&gt; &lt;A&gt; &lt;i&gt; &lt;a&gt;"


def test_a_tenants_html_may_stand_on_the_shipped_layout() -> None:
    source = '{% extends "layout.html" %}{% block heading %}Merci{% endblock %}'
    check("payment_receipt.email", "html", source)

    texts = render("payment_receipt.email", own(html=source), PAYMENT | {"name": "<Ada>"})

    assert "Merci</h1>" in texts.html
    assert "Hello &lt;Ada&gt;," in texts.html


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ nmae }}", "there is no nmae; there are amount, name, order_id, paid_at, transact"),
        ("one\n{{ name|shout }}", r"line 2: No filter named 'shout'"),
        ('{{ paid_at|date:"j F Y" }}', "line 1: "),
        ("{% load tz %}", "line 1: Encountered unknown tag 'load'"),
        ("{{ amount / 0 }}", "unsupported operand"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ " + "(" * 5000 + "name" + ")" * 5000 + " }}", "recursion"),
        ("{{ name" + "|upper" * 40 + " }}", "too much stands within each other"),
    ],
)
def test_a_template_that_cannot_be_rendered_says_why(source: str, reason: str) -> None:
    where = "the text of payment_receipt.email cannot be rendered: .*"

    with pytest.raises(Unrenderable, match=where + reason):
        check("payment_receipt.email", "text", source)


def test_a_template_has_a_length_that_is_enough() -> None:
    check("shipment.sms", "text", "a" * 100_000)

    with pytest.raises(Unrenderable, match="has 100001 characters; at most 100000 are taken"):
        check("shipment.sms", "text", "a" * 100_001)


def test_a_text_has_a_length_that_is_enough() -> None:
    line = ORDER["lines"][0]
    source = "{% for line in lines %}" + "a" * 10_000 + "{% endfor %}"

    texts = render("order_confirmation.email", own(text=source), ORDER | {"lines": [line] * 100})

    assert len(texts.text) == 1_000_000
    with pytest.raises(Unrenderable, match="it would be longer than 1000000 characters"):
        render("order_confirmation.email", own(text=source), ORDER | {"lines": [line] * 101})


HOSTILE = [
    ("{{ name.__class__ }}", "'__class__' is out of reach"),
    ("{{ name['__cla' ~ 'ss__'].mro }}", "'__class__' is out of reach"),
    ("{% for _ in range(9) %}{% endfor %}", "nothing can be called"),
    ("{{ '%9d'|format(1) }}", "No filter named 'format'"),
    ("{{ 'a'|center(9) }}", "No filter named 'center'"),
    ("{{ 1.5|round(9, 'ceil') }}", "No filter named 'round'"),
    ("{{ 'aa'|replace('a', 'aa') }}", "No filter named 'replace'"),
    ("{{ name|attr('__class__') }}", "No filter named 'attr'"),
    ("{{ name|safe }}", "No filter named 'safe'"),
    ("{{ 'a' * 9 }}", "nothing can be multiplied"),
    ("{{ 9 ** 9 }}", "nothing can be multiplied"),
    ("{{ '%9d' % 1 }}", "nothing can be multiplied"),
    ("{% macro m() %}{% endmacro %}{{ m() }}", "nothing can be called"),
    ("{% set a = name ~ name %}{{ a }}", "no value can be set"),
    ("{% set a %}{{ name }}{% endset %}{{ a }}", "no value can be set"),
    ("{% with a = name ~ name %}{{ a }}{% endwith %}", "no value can be set"),
    ("{% for a in lines %}{% for b in lines %}{% endfor %}{% endfor %}", "no loop can be in"),
    ("{% for a in lines recursive %}{{ loop([]) }}{% endfor %}", "nothing can be called"),
]


@pytest.mark.parametrize(("source", "reason"), HOSTILE)
def test_a_template_has_nothing_to_reach_or_exhaust_the_worker_with(
    source: str, reason: str
) -> None:
    with pytest.raises(Unrenderable, match=reason):
        check("order_confirmation.email", "text", source)
    with pytest.raises(Unrenderable, match=reason):
        render("order_confirmation.email", own(text=source), ORDER)


@pytest.mark.parametrize("source", [source for source, _ in HOSTILE])
def test_without_these_limits_such_a_template_is_rendered(source: str) -> None:
    """The control: Jinja2 itself minds none of them."""
    jinja2.Environment(autoescape=False).from_string(source).render(ORDER)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../../models.py", "../notifications/layout.html", "none.html"]
)
def test_a_template_reaches_no_file_but_the_shipped_ones(name: str) -> None:
    for tag in ("include", "extends"):
        with pytest.raises(Unrenderable, match=f"no template '{name}' is shipped"):
            check("shipment.sms", "text", f'{{% {tag} "{name}" %}}')
    with pytest.raises(Unrenderable, match="nothing can be called"):
        check("shipment.sms", "text", f'{{% import "{name}" as other %}}')

    check("shipment.sms", "text", '{% include "shipment.sms.txt" %}')


def test_files_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("a file was opened")

    before = [render(name, None, EXAMPLES[name][0]) for name in TEMPLATES]
    monkeypatch.setattr(builtins, "open", refuse)

    assert [render(name, None, EXAMPLES[name][0]) for name in TEMPLATES] == before

    # The control: what was not yet read is read.
    with pytest.raises(Unrenderable, match="a file was opened"):
        check("shipment.sms", "text", '{% include "payment_receipt.email.html" %}')


def test_threads_render_side_by_side() -> None:
    def work(turn: int) -> list[tuple[str, ...]]:
        subject = own(subject=f"{turn % 7} {{{{ order_id }}}}")
        return [
            render(name, subject, EXAMPLES[name][0] | {"order_id": f"o{turn}", "name": f"n{turn}"})
            for name in itertools.islice(TEMPLATES, 2)
        ]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, range(200)))

    assert together == [work(turn) for turn in range(200)]
    assert [texts[0] for texts in together[9]] == ["2 o9", "2 o9"]
