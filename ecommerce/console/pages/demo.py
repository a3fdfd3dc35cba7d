"""Demo traffic, in development: a crowd of customers who order for a while."""

from __future__ import annotations

from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from ecommerce.console import crowds
from ecommerce.console.crowds import MOST_MINUTES, MOST_RATE
from ecommerce.console.demo import MIX
from ecommerce.console.strip import strip
from ecommerce.messaging.errors import Conflict
from ecommerce.web import live
from ecommerce.web.access import PageRequest

from .chaos import NOW
from .frame import operators, show

PLACE = "console-demo"


class CrowdForm(forms.Form):
    """How many orders a second, and for how long."""

    rate = forms.IntegerField(min_value=1, max_value=MOST_RATE)
    seconds = forms.IntegerField(min_value=5, max_value=60 * MOST_MINUTES)


@require_safe
@operators
def demo(request: PageRequest) -> HttpResponse:
    """The crowd that is at work, or one to be sent."""
    facts = {
        "strip": strip(request.auth.tenant),
        "mix": MIX,
        "most_rate": MOST_RATE,
        "live": live.address("chaos", request.auth.tenant, NOW),
    }
    return show(request, "demo", facts, place=PLACE)


@require_POST
@operators
def start(request: PageRequest) -> HttpResponse:
    """Send a crowd to this very shop."""
    form = CrowdForm(request.POST)
    if not form.is_valid():
        text = (
            f"A crowd places 1 to {MOST_RATE} orders a second, for {MOST_MINUTES} minutes at most."
        )
        messages.error(request, text)
    elif not settings.SHOP_OPEN:
        messages.error(request, "A crowd has no token: it needs a shop that is open (SHOP_OPEN=1).")
    else:
        given, caller = form.cleaned_data, request.auth
        url = f"http://127.0.0.1:{request.get_port()}"
        try:
            crowds.start(caller.tenant, caller.actor, given["rate"], given["seconds"], url)
        except Conflict as refusal:
            messages.error(request, refusal.detail)
        else:
            messages.success(request, "A crowd is on its way.")
    return redirect(_back(request))


@require_POST
@operators
def stop(request: PageRequest) -> HttpResponse:
    """Have the crowd place no more orders; those under way go on."""
    if crowds.stop(request.auth.tenant):
        messages.success(request, "The crowd orders no more. What it has ordered goes on.")
    else:
        messages.warning(request, "There is no crowd at work.")
    return redirect(_back(request))


def _back(request: PageRequest) -> str:
    """The page that asked: this one, or chaos."""
    came_from = urlsplit(request.headers.get("Referer", "")).path
    return came_from if came_from == reverse("console-chaos") else reverse(PLACE)
