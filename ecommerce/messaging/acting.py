"""Actions of the admin: from selected rows, by way of a form, to a command for each.

A form is sent once: its token makes a second click, or a reload, do nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from . import bus
from .bus import IdempotencyRequest, Response
from .errors import Invalid, Refused
from .messages import Message

MOST_AT_ONCE = 100
"""Rows that one action may be asked for."""


class CommandForm(forms.Form):
    """What an action asks for, besides which rows. Subclasses add the command's fields."""

    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def given(self) -> dict[str, Any]:
        """The command's fields."""
        return {name: value for name, value in self.cleaned_data.items() if name != "token"}


def commands(
    description: str, *, scope: str, form: type[CommandForm] = CommandForm
) -> Callable[[Callable[..., Message]], Callable[..., HttpResponse]]:
    """Make an action of a method that turns a row and the form's fields into a command."""

    def decorate(command: Callable[..., Message]) -> Callable[..., HttpResponse]:
        @wraps(command)
        def act(
            model_admin: Any, request: HttpRequest, rows: list[Any], asked: CommandForm
        ) -> None:
            for row in rows:
                wanted = command(model_admin, row, **asked.given())
                _execute(request, row, wanted, asked, description)

        return asks(description, scope=scope, form=form)(act)

    return decorate


def asks(
    description: str, *, scope: str, form: type[CommandForm] = CommandForm
) -> Callable[[Callable[..., None]], Callable[..., HttpResponse]]:
    """Make an action of a method that does something with rows, once the form is filled in.

    It is shown to those who have the scope, on the list and on the row's own page.
    """

    def decorate(act: Callable[..., None]) -> Callable[..., HttpResponse]:
        def action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
            rows = list(queryset[: MOST_AT_ONCE + 1])
            if len(rows) > MOST_AT_ONCE:
                messages.error(request, f"Select {MOST_AT_ONCE} rows at most.")
                return redirect(request.get_full_path())
            asked = form(request.POST if "token" in request.POST else None)
            if not asked.is_valid():
                return _ask(model_admin, request, rows, asked, act.__name__, description)
            act(model_admin, request, rows, asked)
            if len(rows) == 1:
                opts = model_admin.opts
                page = f"{model_admin.admin_site.name}:{opts.app_label}_{opts.model_name}_change"
                return redirect(page, rows[0].pk)
            return redirect(request.get_full_path())

        action.__name__ = act.__name__
        action.__doc__ = act.__doc__
        action.short_description = description  # type: ignore[attr-defined]
        action.scope = scope  # type: ignore[attr-defined]
        return action

    return decorate


def _ask(
    model_admin: Any,
    request: HttpRequest,
    rows: list[Any],
    form: CommandForm,
    action: str,
    description: str,
) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": description,
        "rows": rows,
        "form": form,
        "action": action,
        "selected_name": helpers.ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "backoffice/action.html", context)


def _execute(
    request: HttpRequest, row: Any, command: Message, form: CommandForm, description: str
) -> None:
    """Run one command, and tell the person what came of it."""
    actor = f"user:{request.user.pk}"
    once = IdempotencyRequest(
        caller=actor,
        route=f"admin {type(command).__name__}",
        key=f"{form.cleaned_data['token']}/{row.pk}",
        fingerprint=str(uuid.uuid5(uuid.NAMESPACE_OID, repr(form.given()))),
    )
    what = capfirst(str(row))
    try:
        outcome = bus.execute(
            command,
            tenant=row.tenant,
            actor=actor,
            idempotency=once,
            respond=lambda outcome: Response(200 if outcome.messages else 204, {}, ""),
        )
    except Refused as refusal:
        field = f"{refusal.field} " if isinstance(refusal, Invalid) else ""
        messages.error(request, f"{what}: {field}{refusal.detail}.")
        return
    if outcome.response and outcome.response.status == 204:
        messages.warning(request, f"{what}: there was nothing to do.")
    else:
        now = next((found for found in outcome.rows if type(found) is type(row)), row)
        messages.success(request, f"{description}: done ({now}).")
