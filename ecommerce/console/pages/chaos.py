"""Chaos, in development: what may break any day, broken on purpose, beside what shows that nothing
is lost by it.

It concerns the whole installation, whoever asks. In production these addresses do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import structlog
from django import forms
from django.contrib import messages
from django.db import DatabaseError, connections
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from ecommerce.console import auditing, deliveries, processes
from ecommerce.console.crowds import MOST_MINUTES, MOST_RATE
from ecommerce.console.faults import weather
from ecommerce.console.strip import strip
from ecommerce.messaging.errors import Refused
from ecommerce.messaging.fleet import fleet
from ecommerce.messaging.leases import LEASE_SECONDS
from ecommerce.messaging.services import service, services
from ecommerce.messaging.tenancy import acting_for
from ecommerce.simulation import providers
from ecommerce.web import live
from ecommerce.web.access import PageRequest

from .frame import operators, show

PLACE = "console-chaos"
NOW = "now"
"""The one id of the topic."""
LONGEST_TROUBLE = 600
SLOWEST = 8.0
"""Seconds a call: a worker's claim to it lasts for twelve."""
MOST_AGAIN = 500
Given = dict[str, Any]

log = structlog.get_logger(__name__)


class WorkerForm(forms.Form):
    """Which worker, and for how long it stands still."""

    worker = forms.CharField(max_length=80)
    seconds = forms.IntegerField(min_value=1, max_value=processes.LONGEST_FREEZE, required=False)


class ServiceForm(forms.Form):
    """A service, or all of them; for how long, or how many messages."""

    service = forms.ChoiceField(required=False)
    seconds = forms.IntegerField(min_value=1, max_value=LONGEST_TROUBLE, required=False)
    messages = forms.IntegerField(min_value=1, max_value=MOST_AGAIN, required=False)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        choices = [(each.label, each.label) for each in services()]
        self.fields["service"].choices = choices  # type: ignore[attr-defined]


class TroubleForm(forms.Form):
    """A provider's trouble: of how many calls, else for how long; and what each call then takes."""

    provider = forms.ChoiceField()
    kind = forms.CharField(max_length=20)
    seconds = forms.IntegerField(min_value=1, max_value=LONGEST_TROUBLE, required=False)
    calls = forms.IntegerField(min_value=1, max_value=1000, required=False)
    delay = forms.FloatField(min_value=0.1, max_value=SLOWEST, required=False)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.known = {each.name: each for each in providers()}
        self.fields["provider"].choices = [(name, name) for name in self.known]  # type: ignore[attr-defined]

    def clean(self) -> Given:
        given = super().clean() or {}
        provider = self.known.get(given.get("provider", ""))
        if provider and given.get("kind") not in provider.kinds:
            self.add_error("kind", "There is no such trouble.")
        return given | {"provider": provider}


@require_safe
@operators
def panel(request: PageRequest) -> HttpResponse:
    """What can be broken, what is, and how the shop fares."""
    facts = {
        **_facts(request.auth.tenant),
        "services": [each.label for each in services()],
        "providers": providers(),
        "lease": LEASE_SECONDS,
        "most_rate": MOST_RATE,
        "most_minutes": MOST_MINUTES,
        "live": live.address("chaos", request.auth.tenant, NOW),
    }
    return show(request, "chaos", facts, place=PLACE)


@require_POST
@operators
def act(request: PageRequest, action: str) -> HttpResponse:
    """Break something, or mend it."""
    if action not in ACTIONS:
        raise Http404(f"there is no action {action!r}")
    kind, carry_out = ACTIONS[action]
    form = kind(request.POST)
    try:
        if not form.is_valid():
            messages.error(request, _complaint(form))
        elif said := carry_out(form.cleaned_data):
            messages.success(request, said)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect(PLACE)


@require_POST
@operators
def audit(request: PageRequest) -> HttpResponse:
    """Have the auditor asked, and stay here."""
    auditing.request(request.auth.tenant, request.auth.actor)
    return redirect(PLACE)


def _kill(given: Given) -> str:
    processes.kill(given["worker"], fleet()[0])
    return (
        f"Worker {given['worker']} was killed. Its partitions are taken over within "
        f"{LEASE_SECONDS:.0f} seconds, and whoever started it starts another."
    )


def _freeze(given: Given) -> str:
    seconds = given["seconds"] or round(LEASE_SECONDS + 4)
    processes.freeze(given["worker"], seconds, fleet()[0])
    return f"Worker {given['worker']} stands still for {seconds} seconds."


def _thaw(given: Given) -> str:
    processes.thaw(given["worker"], fleet()[0])
    return f"Worker {given['worker']} goes on."


def _pause(given: Given) -> str:
    seconds = given["seconds"] or 10
    for each in _services(given):
        deliveries.pause(each, seconds)
    return f"Deliveries to {given['service'] or 'all services'} rest for {seconds} seconds."


def _resume(given: Given) -> str:
    for each in _services(given):
        deliveries.resume(each)
    return f"Deliveries to {given['service'] or 'all services'} go on within seconds."


def _again(given: Given) -> str:
    done = [deliveries.again(each, given["messages"] or 100) for each in _services(given)]
    read = sum(each.read for each in done)
    copied = sum(each.copied for each in done)
    if not read:
        return "There was nothing to deliver again."
    copies = f" {copied} inboxes are sent their messages again, too." if copied else ""
    return f"{read} messages were delivered again, and the fence refused every batch: nothing of it was stored.{copies}"


def _trouble(given: Given) -> str:
    provider, kind = given["provider"], given["kind"]
    seconds = given["seconds"] or (LONGEST_TROUBLE if given["calls"] else 30)
    delay = (given["delay"] or 3.0) if kind == "slow" else 0.0
    provider.begin(kind, seconds, calls=given["calls"], delay=delay)
    often = f"for {given['calls']} calls" if given["calls"] else f"for {seconds} seconds"
    return f"{provider.title}: {provider.kinds[kind]}, {often}."


def _calm(given: Given) -> str:
    given["provider"].end(given["kind"])
    return f"{given['provider'].title}: that is over."


ACTIONS: dict[str, tuple[type[forms.Form], Callable[[Given], str]]] = {
    "kill": (WorkerForm, _kill),
    "freeze": (WorkerForm, _freeze),
    "thaw": (WorkerForm, _thaw),
    "pause": (ServiceForm, _pause),
    "resume": (ServiceForm, _resume),
    "again": (ServiceForm, _again),
    "trouble": (TroubleForm, _trouble),
    "calm": (TroubleForm, _calm),
}


def _services(given: Given) -> Sequence[Any]:
    return [service(given["service"])] if given["service"] else services()


def _complaint(form: forms.Form) -> str:
    field, errors = next(iter(form.errors.items()))
    return f"{field.capitalize()}: {errors[0]}"


def _facts(tenant: str) -> Given:
    with acting_for(tenant):
        return {"strip": strip(tenant), "weather": weather()}


def _sample(watched: Sequence[live.Key]) -> Iterator[tuple[str, str, str]]:
    """Texts for the pages of each shop, and the digest of each part that shows more than texts."""
    try:
        digest = weather().digest
        for tenant in sorted({tenant for tenant, key in watched if key == NOW}):
            with acting_for(tenant):
                now = strip(tenant)
            shown = {
                "texts": now.texts,
                "tone": now.verdict[1],
                "digests": {"state": digest, "crowd": now.digest},
            }
            yield tenant, NOW, msgspec.json.encode(shown).decode()
    except DatabaseError as error:
        log.warning("cannot sample chaos", error=type(error).__name__)
    finally:
        connections.close_all()  # this thread's: it has nothing more to ask for a while


live.sampled("chaos", sample=_sample)
