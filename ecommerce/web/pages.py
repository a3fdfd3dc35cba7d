"""Pages that belong to no service: the front door, errors, and the design system's own page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from django import forms
from django.contrib.staticfiles import finders
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.views.decorators.http import require_safe

from .tags import ICONS


@dataclass(frozen=True)
class Door:
    """A part of the platform that the front door leads to."""

    path: str
    icon: str
    name: str
    text: str
    first: bool = False


DOORS = (
    Door("/shop/", "store", "Shop", "Browse, fill a cart, pay with a test card.", first=True),
    Door("/console/", "activity", "Console", "Watch messages flow, and mend what is stuck."),
    Door("/console/demo", "users", "Demo traffic", "Send a crowd of customers, and disturb them."),
    Door("/analytics/", "chart-line", "Analytics", "What sold, when, and to how many people."),
    Door("/admin/", "settings", "Admin", "Every table, to read; actions are commands."),
    Door("/api/docs", "code", "API", "Every operation, with examples to try."),
)
STEPS = (
    ("Order placed", "Orders stores it, and asks for the stock"),
    ("Stock held", "Inventory holds every item, or none"),
    ("Card charged", "Payments charges once, however often it is asked"),
    ("Parcel on its way", "Shipping buys the label, and you get word"),
)


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """What this is, and where to go."""
    doors = [door for door in DOORS if _exists(door.path)]
    return render(request, "web/landing.html", {"doors": doors, "steps": STEPS})


def _exists(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def not_found(request: HttpRequest, *_: object, **__: object) -> HttpResponse:
    """404: what is not there, or is not the visitor's to see."""
    text = "It may have moved, or it belongs to somebody else. If you followed a link from us, it may have ended with your session."
    return _error(request, 404, "There is nothing here", text)


def forbidden(request: HttpRequest, *_: object, **__: object) -> HttpResponse:
    """403."""
    text = "Your account may not do this. Sign in with another one, or ask whoever runs the shop."
    return _error(request, 403, "Not for this account", text)


def form_too_old(request: HttpRequest, *_: object, **__: object) -> HttpResponse:
    """403 for a form whose CSRF token is missing or wrong."""
    text = "Go back, load the page again and send it once more. It also needs cookies: they tell us that the form came from you."
    return _error(request, 403, "This form is too old", text)


def bad_request(request: HttpRequest, *_: object, **__: object) -> HttpResponse:
    """400."""
    return _error(request, 400, "We could not read that", "Go back and try again.")


def failed(request: HttpRequest) -> HttpResponse:
    """500. Nothing here asks the database: it may be what failed."""
    text = "Something went wrong on our side. What you did is either stored whole or not at all, so it is safe to try again."
    return _error(request, 500, "That did not work", text)


def _error(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    correlation = getattr(request, "correlation_id", "") if status == 500 else ""
    facts = {"status": status, "title": title, "text": text, "correlation": correlation}
    return render(request, "web/error.html", facts, status=status)


class _Example(forms.Form):
    name = forms.CharField(help_text="As it stands on your letterbox.")
    email = forms.EmailField(label="E-mail", required=False)
    size = forms.ChoiceField(choices=[("m", "Medium"), ("l", "Large")])

    def __init__(self) -> None:
        super().__init__({"email": "not an address", "name": "Robin Carter", "size": "m"})
        for field in self.fields.values():
            field.widget.attrs["class"] = "input"


@require_safe
def design(request: HttpRequest) -> HttpResponse:
    """Every component of the design system, for those who build pages. Development only."""
    sprite = finders.find(ICONS)
    assert isinstance(sprite, str)
    icons = re.findall(r'<symbol id="([a-z0-9-]+)"', Path(sprite).read_text())
    facts = {
        "trail": [("/", "Home"), ("", "Design system")],
        "form": _Example(),
        "rows": [
            ("01a2032a-0e63", "Delivered", "good", 3998),
            ("01a2032b-77f1", "Cancelled", "bad", 129900),
        ],
        "page": Paginator(range(60), 20).page(2),
        "tones": ["info", "success", "warning", "error"],
        "icons": icons,
    }
    return render(request, "web/design.html", facts)
