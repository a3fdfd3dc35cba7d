"""The dead-letter desk in the admin: decisions as actions, and a letter's trail on its page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Max, Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from . import desk
from .acting import CommandForm, asks
from .backoffice import ReadOnlyAdmin, Show
from .columns import instant
from .desk import Selection
from .errors import Refused
from .queues import DeadLetter
from .services import service

CAUSES_OFFERED = 20

done_at = instant("done_at")


class DecisionForm(CommandForm):
    """Why, for the letter's trail."""

    note = forms.CharField(
        max_length=400,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why: it stands in the letter's trail.",
    )


class CauseFilter(DropdownFilter):  # type: ignore[misc]
    """The causes of the latest letters."""

    title = "cause"
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        letters = model_admin.get_queryset(request).values("cause", "handler")
        latest = letters.annotate(last=Max("dead_at")).order_by("-last")[:CAUSES_OFFERED]
        return [(each["cause"], f"{each['cause']} {each['handler']}") for each in latest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(cause=self.value()) if self.value() else queryset


class DeskAdmin(ReadOnlyAdmin):
    """Letters, and what may be decided about them. The desk decides: nothing here writes a row."""

    actions = ("retry", "hold", "give_up")

    @asks("Retry", scope="operations", form=DecisionForm)
    def retry(self, request: HttpRequest, letters: list[DeadLetter], form: CommandForm) -> None:
        self._decide(desk.retry, "Retry", request, letters, form)

    @asks("Hold", scope="operations", form=DecisionForm)
    def hold(self, request: HttpRequest, letters: list[DeadLetter], form: CommandForm) -> None:
        self._decide(desk.hold, "Hold", request, letters, form)

    @asks("Give up", scope="operations", form=DecisionForm)
    def give_up(self, request: HttpRequest, letters: list[DeadLetter], form: CommandForm) -> None:
        self._decide(desk.give_up, "Give up", request, letters, form)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Show]:
        return [*super().get_fields(request, obj), self.trail]

    @admin.display(description="trail")
    def trail(self, letter: DeadLetter) -> str:
        """What was done with the letter. Content before an edit is shown without what is personal."""
        actions = desk.trail(service(letter._meta.app_label), letter.pk)
        lines = (
            (done_at(each), each.action, each.actor, each.note, each.payload_before or "")
            for each in actions
        )
        return format_html_join("", "<p>{} {} by {} {} <code>{}</code></p>", lines) or "—"

    def _decide(
        self,
        decision: Callable[..., int],
        verb: str,
        request: HttpRequest,
        letters: list[DeadLetter],
        form: CommandForm,
    ) -> None:
        chosen = Selection(service=_label(self.model), ids=tuple(letter.pk for letter in letters))
        actor, note = f"user:{request.user.pk}", form.cleaned_data["note"]
        try:
            decided = decision(chosen, actor=actor, note=note)
        except Refused as refusal:
            messages.error(request, f"{verb}: {refusal.detail}.")
            return
        tell = messages.success if decided == len(letters) else messages.warning
        tell(request, f"{verb}: {decided} of {len(letters)} letters.")


def _label(model: type[Model]) -> str:
    return model._meta.app_label
