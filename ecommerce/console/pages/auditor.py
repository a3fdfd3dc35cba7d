"""The auditor: everything that must hold, asked on demand, green or red."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from customers import queries as customers
from ecommerce.console import auditing
from ecommerce.console.models import Audit
from ecommerce.web.access import PageRequest

from .frame import operators, show
from .hops import duration

KEPT = 8
"""Audits that the page shows."""
WORDS = re.compile(r"[\w.-]{3,80}")


@dataclass(frozen=True)
class Offender:
    """A row that breaks a rule, and the orders that it is about."""

    text: str
    orders: list[str]


@dataclass(frozen=True)
class Asked:
    """A check and what it found."""

    name: str
    offending: int
    offenders: list[Offender]
    too_long: bool
    took: str

    @property
    def more(self) -> int:
        """Offenders that are not shown."""
        return self.offending - len(self.offenders)


@dataclass
class Area:
    """A service, or the platform as a whole."""

    name: str
    asked: list[Asked]

    @property
    def wrong(self) -> list[Asked]:
        return [each for each in self.asked if each.offending]

    @property
    def unanswered(self) -> list[Asked]:
        return [each for each in self.asked if each.too_long]


@require_safe
@operators
def auditor(request: PageRequest) -> HttpResponse:
    """The newest audit, as far as it is, and how those before it ended."""
    audits = auditing.newest(request.auth.tenant, KEPT)
    newest = audits[0] if audits else None
    facts = {
        "audit": newest,
        "areas": _areas(newest) if newest else [],
        "before": audits[1:],
        "took": _took(newest),
    }
    return show(request, "auditor", facts, place="console-auditor")


@require_POST
@operators
def ask(request: PageRequest) -> HttpResponse:
    """Ask for an audit. A worker begins within seconds."""
    auditing.request(request.auth.tenant, request.auth.actor)
    return redirect("console-auditor")


def _areas(audit: Audit) -> list[Area]:
    known = _orders(audit)
    areas: dict[str, Area] = {}
    for found in audit.findings:
        area = areas.setdefault(found["area"], Area(found["area"], []))
        area.asked.append(_asked(found, known))
    return sorted(areas.values(), key=lambda area: not area.wrong)


def _asked(found: Mapping[str, Any], known: set[str]) -> Asked:
    offenders = [
        Offender(text, [word for word in dict.fromkeys(_words([text])) if word in known])
        for text in found["shown"]
    ]
    took = duration(found["took"] * 1000)
    return Asked(found["name"], found["offending"], offenders, found["too_long"], took)


def _orders(audit: Audit) -> set[str]:
    """The ids of orders that the offenders name."""
    words = set(_words(text for found in audit.findings for text in found["shown"]))
    if not words:
        return set()
    found = customers.orders(audit.tenant).filter(order_id__in=words)
    return set(found.values_list("order_id", flat=True))


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in WORDS.findall(text)]


def _took(audit: Audit | None) -> str:
    if audit is None or audit.started_at is None:
        return ""
    return duration((audit.updated_at - audit.started_at).total_seconds() * 1000)
