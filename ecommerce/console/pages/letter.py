"""One dead letter: what it says, what it would do, and what was and can be done with it."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from ecommerce.console.letters import STATES, chosen, config_of, decide
from ecommerce.messaging import desk, rehearsal
from ecommerce.messaging.errors import Invalid, NotFound, Refused
from ecommerce.messaging.links import page_at
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.registry import handler_named
from ecommerce.messaging.services import ServiceConfig
from ecommerce.web.access import PageRequest
from ecommerce.web.dead_letter_schemas import may_see, rehearsed, whole

from .frame import operators, show
from .letters import DECISIONS, DONE, PLACE


class ContentForm(forms.Form):
    """Other content for a letter, as JSON; a field that is left out stays."""

    payload = forms.CharField(required=False, strip=False)
    personal = forms.CharField(required=False, strip=False)
    note = forms.CharField(max_length=400, required=False)

    def part(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a field. Raises Invalid for what is none."""
        text = self.data.get(name)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Invalid(f"This is no JSON object: {error}.", field=name) from error


@require_safe
@operators
def letter(request: PageRequest, service: str, letter_id: uuid.UUID) -> HttpResponse:
    """A letter, its content and its trail."""
    return _show(request, *_find(request, service, letter_id), ContentForm())


@require_POST
@operators
def decide_about_one(
    request: PageRequest, service: str, letter_id: uuid.UUID, decision: str
) -> HttpResponse:
    """Send one letter out again, hold it or give it up."""
    decision = decision.replace("-", " ")
    if decision not in DECISIONS:
        raise Http404(f"there is no decision {decision!r}")
    _find(request, service, letter_id)
    wanted = chosen([f"{service}/{letter_id}"], request.auth.tenant)
    note = request.POST.get("note", "")[:400]
    try:
        number = decide(decision, wanted, actor=request.auth.actor, note=note, rate=None)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    else:
        if number:
            messages.success(request, f"The letter is {DONE[decision]}.")
        else:
            messages.warning(request, "That cannot be decided any more: see its trail.")
    return redirect("console-letter", service, letter_id)


@require_POST
@operators
def rehearse(request: PageRequest, service: str, letter_id: uuid.UUID) -> HttpResponse:
    """Show what sending the letter would do, with the content that the form has. Changes nothing."""
    config, found = _find(request, service, letter_id)
    form = ContentForm(request.POST)
    try:
        payload, personal = _content(request, form)
        tried = desk.find(config, letter_id, request.auth.tenant)
        if payload is not None or personal is not None:
            tried = rehearsal.edited(tried, payload, personal)
    except Refused as refusal:
        return _show(request, config, found, form, refusal=refusal)
    result = rehearsed(rehearsal.rehearse(config, tried), request.auth)
    return _show(request, config, found, form, result=result)


@require_POST
@operators
def edit(request: PageRequest, service: str, letter_id: uuid.UUID) -> HttpResponse:
    """Store other content for the next time that the letter is sent, and send it if that is asked."""
    config, found = _find(request, service, letter_id)
    form = ContentForm(request.POST)
    try:
        payload, personal = _content(request, form)
        note = request.POST.get("note", "")[:400]
        actor, tenant = request.auth.actor, request.auth.tenant
        rehearsal.edit(
            config, letter_id, actor=actor, payload=payload, personal=personal, note=note, tenant=tenant
        )  # fmt: skip
        if "send" in request.POST:
            wanted = chosen([f"{service}/{letter_id}"], tenant)
            decide("retry", wanted, actor=actor, note=note, rate=None)
    except Refused as refusal:
        return _show(request, config, found, form, refusal=refusal)
    sent = "send" in request.POST
    messages.success(request, "It is changed and sent out." if sent else "The letter is changed.")
    return redirect("console-letter", service, letter_id)


def _find(
    request: PageRequest, service: str, letter_id: uuid.UUID
) -> tuple[ServiceConfig, DeadLetter]:
    """Raises Http404 for what is not there, or another tenant's."""
    try:
        config = config_of(service)
        return config, desk.find(config, letter_id, request.auth.tenant)
    except NotFound as error:
        raise Http404(error.detail) from error


def _content(
    request: PageRequest, form: ContentForm
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Raises Invalid for what is no JSON. Of personal data nobody edits what they do not see."""
    personal = form.part("personal") if may_see(request.auth) else None
    return form.part("payload"), personal


def _show(
    request: PageRequest,
    config: ServiceConfig,
    found: DeadLetter,
    form: ContentForm,
    *,
    result: dict[str, Any] | None = None,
    refusal: Refused | None = None,
) -> HttpResponse:
    content = whole(config, found, request.auth)
    for line in content["trail"]:
        line["before"] = _text(line["payload_before"])
    kind = handler_named(found.handler).kind
    at_desk = found.state in ("waiting", "held")
    facts = {
        "letter": content,
        "full_error": found.error,
        "order": _order(found),
        "said": STATES[found.state],
        "decisions": [(name, *DECISIONS[name]) for name in DECISIONS if _may(name, found)],
        "payload": form.data.get("payload", _text(content["payload"])),
        "personal": form.data.get("personal", _text(content["personal"])),
        "edits_payload": at_desk and kind == "handles",
        "edits_personal": at_desk and kind != "projects" and content["personal"] is not None,
        "hides_personal": found.personal is not None and content["personal"] is None,
        "result": result and _told(result),
        "refusal": refusal,
    }
    status = refusal.status if refusal else 200
    return show(request, "letter", facts, place=PLACE, status=status)


def _told(result: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal as the page lists it."""
    for change in result["changes"]:
        before, after = change["before"] or {}, change["after"] or {}
        change["rows"] = [(name, before.get(name), value) for name, value in after.items()]
    for sent in result["sent"]:
        content = {"payload": sent["payload"], "personal": sent["personal"]}
        sent["text"] = _text({name: value for name, value in content.items() if value})
    return result


def _may(decision: str, found: DeadLetter) -> bool:
    sent = found.state == "retrying" and found.due_at is None
    return found.state in desk.DECIDABLE[decision] and not sent


def _order(found: DeadLetter) -> str:
    """The address of the order that it is about, if there is such a page."""
    category, _, key = found.stream.partition("/")
    return page_at("console-order", key) if category == "order" else ""


def _text(content: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(content)).decode() if content is not None else ""
