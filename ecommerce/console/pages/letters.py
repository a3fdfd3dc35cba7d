"""The dead-letter desk: what was given up, by cause and one by one, and what to do about it.

Whatever is decided about more than one letter is confirmed first, with how many there are.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from ecommerce.console.letters import STATES, LetterFilter, chosen, decide, handler_names, page
from ecommerce.messaging import desk
from ecommerce.messaging.causes import causes
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.errors import Invalid, Refused
from ecommerce.web.access import PageRequest

from .frame import operators, show

PLACE = "console-letters"
DECISIONS = {
    "retry": ("Send out again", "Send", "refresh-cw"),
    "hold": ("Hold", "Hold", "pause"),
    "give up": ("Give up", "Give up", "ban"),
}
"""What a decision is called on its button and on the page that asks, and its icon."""
DONE = {"retry": "sent out again", "hold": "held", "give up": "given up"}


class DecisionForm(forms.Form):
    """Why, for the letters' trails; and how fast to send, in letters a second."""

    decision = forms.ChoiceField(choices=[(name, name) for name in DECISIONS])
    note = forms.CharField(max_length=400, required=False)
    rate = forms.FloatField(min_value=0.1, max_value=desk.FASTEST, required=False)


@require_safe
@operators
def letters(request: PageRequest) -> HttpResponse:
    """Letters by cause, and those that fit, the latest first."""
    asked = LetterFilter(request.GET)
    facts: dict[str, Any] = {
        "form": asked,
        "given": asked.given(),
        "handlers": handler_names(),
        "decisions": DECISIONS,
    }
    try:
        selection = asked.selection(request.auth.tenant)
        facts["lines"], facts["next"] = page(selection, request.GET.get("after", ""))
        facts["causes"] = causes(selection)
    except Invalid as refusal:
        raise Http404(refusal.detail) from refusal
    return show(request, "letters", facts, place=PLACE)


@require_safe
@operators
def confirm(request: PageRequest) -> HttpResponse:
    """What a decision would be about, before it is taken."""
    decision = request.GET.get("decision", "")
    if decision not in DECISIONS:
        raise Http404(f"there is no decision {decision!r}")
    try:
        wanted = _wanted(request.GET, request.auth.tenant)
        count = sum(desk.count(each, decision) for each in wanted)
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect(_back(request.GET))
    facts = {
        "decision": decision,
        "title": DECISIONS[decision][0],
        "verb": DECISIONS[decision][1],
        "icon": DECISIONS[decision][2],
        "count": count,
        "chosen": request.GET.getlist("letter"),
        "given": LetterFilter(request.GET).given(),
        "back": _back(request.GET),
        "fastest": desk.FASTEST,
    }
    return show(request, "letters_confirm", facts, place=PLACE)


@require_POST
@operators
def decide_about(request: PageRequest) -> HttpResponse:
    """Decide about all letters that fit, or that were chosen."""
    form = DecisionForm(request.POST)
    if not form.is_valid():
        messages.error(request, "A note has 400 characters at most; a rate is letters a second.")
        return redirect(_back(request.POST))
    decision, given = form.cleaned_data["decision"], form.cleaned_data
    try:
        number = decide(
            decision,
            _wanted(request.POST, request.auth.tenant),
            actor=request.auth.actor,
            note=given["note"],
            rate=given["rate"],
        )
    except Refused as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.success(request, _said(decision, number, given["rate"]))
    return redirect(_back(request.POST))


def _wanted(given: QueryDict, tenant: str) -> list[Selection]:
    """The letters that were chosen, else all that fit. Raises Invalid for nothing, and for all
    there are."""
    places = given.getlist("letter")
    if places:
        return chosen(places, tenant)
    asked = LetterFilter(given)
    if given.get("among") != "all":
        raise Invalid("Choose letters first.", field="letter")
    if not asked.given().keys() - {"state", "since"}:
        raise Invalid(
            "That would be all letters: choose a service, handler, reason or cause first.",
            field="service",
        )
    return [asked.selection(tenant)]


def _back(given: QueryDict) -> str:
    query = QueryDict(mutable=True)
    query.update(LetterFilter(given).given())
    return f"{reverse(PLACE)}?{query.urlencode()}" if query else reverse(PLACE)


def _said(decision: str, number: int, rate: float | None) -> str:
    if not number:
        return "There was nothing to decide: somebody else was faster."
    letters = "1 letter is" if number == 1 else f"{number} letters are"
    pace = f", {rate:g} a second" if decision == "retry" and rate else ""
    return f"{letters} {DONE[decision]}{pace}."


assert DECISIONS.keys() == desk.DECIDABLE.keys()
assert STATES.keys() == set(desk.STATES)
