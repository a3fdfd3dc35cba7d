"""Texts, made from the shipped templates or a tenant's own.

Operators of tenants write templates, so these are given little: values, conditions, one loop, a few
filters. Nothing in them can be called, remembered or multiplied, so what a template costs grows with
its length and the order's lines, and with nothing else. Behind that stands Jinja2's sandbox, which
keeps what begins with an underscore out of reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Never

import msgspec
from django.utils.dateformat import format as format_date
from jinja2 import ChainableUndefined, FileSystemLoader, TemplateNotFound, TemplateSyntaxError
from jinja2 import Template as Compiled
from jinja2 import nodes as n
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ecommerce.values import Address, Money

from .models import PARTS, TEMPLATES, Template

_LONGEST_TEMPLATE = 100_000
_LONGEST_TEXT = 1_000_000
_DEEPEST = 40
_FILES = Path(__file__).parent / "templates" / "notifications"

# What could make a text from a short template that is long, or long in the making.
_CALLS = (n.Call, n.CallBlock, n.Macro, n.Import, n.FromImport)
_VARIABLES = (n.Assign, n.AssignBlock, n.With)
_PRODUCTS = (n.Mul, n.Pow, n.Mod)
_FILTERS = ["capitalize", "default", "first", "last", "length", "lower", "title", "trim"]
_FILTERS += ["truncate", "upper"]


class Texts(NamedTuple):
    """A rendered notification; SMS have only `text`."""

    subject: str
    text: str
    html: str


class Unrenderable(Exception):
    """A part of a template cannot be compiled or filled; correct it and save it again."""


class _Engine(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        """What a value holds is there to be read; the sandbox judges all else, which takes it long."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, msgspec.Struct) and attribute in obj.__struct_fields__:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: object, attribute: str) -> Never:
        raise SecurityError(f"{attribute!r} is out of reach for templates")


def _date(value: date | datetime, pattern: str = "") -> str:
    """A day as `1 March 2026`, or by Django's letters; in the UTC offset that it came with."""
    if not value:
        return ""
    if not pattern:
        return f"{value.day} {value:%B %Y}"
    # Instants that are equal can be of different days.
    return format_date(value, pattern) if isinstance(value, datetime) else _day(value, pattern)


_day = lru_cache(maxsize=256)(format_date)


def _engine(*, autoescape: bool) -> _Engine:
    engine = _Engine(
        loader=FileSystemLoader(_FILES),
        auto_reload=False,
        undefined=ChainableUndefined,
        autoescape=autoescape,
    )
    engine.globals.clear()  # they would be copied for each text, and nothing in it may call them
    engine.filters = {name: FILTERS[name] for name in _FILTERS} | {"date": _date}
    return engine


_PLAIN = _engine(autoescape=False)
_HTML = _engine(autoescape=True)


def render(template_id: str, own: Template | None, values: Mapping[str, Any]) -> Texts:
    """Make the texts of a notification from a tenant's own templates or the shipped files.

    Raises Unrenderable.
    """
    parts = {
        part: _fill(template_id, part, getattr(own, part) if own else "", values)
        for part in PARTS[TEMPLATES[template_id]]
    }
    return Texts(parts.get("subject", ""), parts["text"], parts.get("html", ""))


def check(template_id: str, part: str, source: str) -> None:
    """Try one part that somebody wrote on examples. Raises Unrenderable."""
    if len(source) > _LONGEST_TEMPLATE:
        raise Unrenderable(
            f"the {part} of {template_id} has {len(source)} characters; "
            f"at most {_LONGEST_TEMPLATE} are taken"
        )
    for values in EXAMPLES[template_id]:
        _fill(template_id, part, source, values)
    known = EXAMPLES[template_id][0].keys()
    unknown = find_undeclared_variables(_PLAIN.parse(source)) - known
    if unknown:
        raise Unrenderable(
            f"the {part} of {template_id} cannot be rendered: there is no "
            f"{', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )


def _fill(template_id: str, part: str, source: str, values: Mapping[str, Any]) -> str:
    """Render one part: values are escaped in HTML only, and a subject is one line."""
    try:
        template = _own(part, source) if source else _shipped(template_id, part)
        rendered = _joined(template.generate(values)).strip()
    except Exception as error:
        raise Unrenderable(
            f"the {part} of {template_id} cannot be rendered: {_reason(error)}"
        ) from error
    return " ".join(rendered.split())[:300] if part == "subject" else rendered


def _joined(pieces: Iterable[str]) -> str:
    joined, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > _LONGEST_TEXT:
            raise ValueError(f"it would be longer than {_LONGEST_TEXT} characters")
        joined.append(piece)
    return "".join(joined)


@lru_cache(maxsize=32)
def _shipped(template_id: str, part: str) -> Compiled:
    suffix = {"text": "txt"}.get(part, part)
    return (_HTML if part == "html" else _PLAIN).get_template(f"{template_id}.{suffix}")


@lru_cache(maxsize=256)
def _own(part: str, source: str) -> Compiled:
    engine = _HTML if part == "html" else _PLAIN
    tree = engine.parse(source)
    if _depth(tree) > _DEEPEST:
        # Jinja2 would take seconds to compile a hundred levels.
        raise TemplateSyntaxError("too much stands within each other in a text", 1)
    for kinds, refusal in (
        (_CALLS, "nothing can be called"),
        (_VARIABLES, "no value can be set"),
        (_PRODUCTS, "nothing can be multiplied"),
    ):
        for node in tree.find_all(kinds):
            raise TemplateSyntaxError(f"{refusal} in a text", node.lineno)
    for node in tree.find_all(n.EvalContextModifier):
        node.options = []  # nobody switches the escaping off
    for loop in tree.find_all(n.For):
        if loop.find(n.For):
            raise TemplateSyntaxError("no loop can be in another", loop.lineno)
    return engine.from_string(tree)


def _depth(node: n.Node) -> int:
    return 1 + max(map(_depth, node.iter_child_nodes()), default=0)


def _reason(error: Exception) -> str:
    match error:
        case TemplateSyntaxError():
            return f"line {error.lineno}: {error.message}"
        case TemplateNotFound():
            return f"no template {error.name!r} is shipped"
    return str(error) or type(error).__name__


_ORDER_ID = "0192f0c1-2b5e-7c3a-9f00-1a2b3c4d5e6f"
_TO_SEND: dict[str, Any] = {
    "name": "Ada Lovelace",
    "order_id": _ORDER_ID,
    "ordered_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
    "lines": [
        {
            "name": "Widget",
            "quantity": 2,
            "unit_price": Money(1999, "USD"),
            "total": Money(3998, "USD"),
        }
    ],
    "address": Address("1 Main Street", "Springfield", "IL", "62701", "US"),
    "has_extras": True,
    "subtotal": Money(3998, "USD"),
    "discount": Money(400, "USD"),
    "shipping": Money(495, "USD"),
    "tax": Money(288, "USD"),
    "total": Money(4381, "USD"),
}
_NOTHING = Money(0, "USD")
_TO_COLLECT = _TO_SEND | {
    "address": None,
    "has_extras": False,
    "discount": _NOTHING,
    "shipping": _NOTHING,
    "tax": _NOTHING,
    "total": _TO_SEND["subtotal"],
}
_PAYMENT: dict[str, Any] = {
    "name": "Ada Lovelace",
    "order_id": _ORDER_ID,
    "amount": Money(4381, "USD"),
    "transaction_id": "txn_1",
    "paid_at": datetime(2026, 3, 2, 12, tzinfo=UTC),
}
_PARCEL: dict[str, Any] = {
    "name": "Ada Lovelace",
    "order_id": _ORDER_ID,
    "carrier": "SwiftParcel",
    "tracking_number": "SP12345678901234567",
    "estimated_delivery": date(2026, 3, 6),
    "collection": False,
}
EXAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "order_confirmation.email": (_TO_SEND, _TO_COLLECT),
    "payment_receipt.email": (_PAYMENT,),
    "shipment.sms": (_PARCEL, _PARCEL | {"collection": True}),
}
"""Values such as each template is filled with; own templates are tried on them."""
