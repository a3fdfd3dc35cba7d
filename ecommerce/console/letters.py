"""The dead letters of all services in one list, as the console shows and decides about them.

The desk works on one service's letters at a time; here its selections are put together.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django import forms
from django.db.models import Q, Value
from django.utils import timezone

from ecommerce.messaging import desk
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.reasons import REASONS, headline
from ecommerce.messaging.registry import handlers
from ecommerce.messaging.services import ServiceConfig, by_database, services

ON_A_PAGE = 50
PERIODS = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last day", timedelta(days=1)),
    "7d": ("Last week", timedelta(days=7)),
}
STATES = {
    "waiting": ("Waiting", "warn"),
    "held": ("Held", "info"),
    "retrying": ("Retrying", "info"),
    "resolved": ("Resolved", "good"),
    "given_up": ("Given up", "bad"),
}
"""How each state is said, and the tone of its badge."""
COLUMNS = (
    "pk",
    "name",
    "handler",
    "stream",
    "reason",
    "cause",
    "error",
    "state",
    "dead_at",
    "due_at",
)


class LetterFilter(forms.Form):
    """Which letters; without a state, those that are not over."""

    service = forms.ChoiceField(required=False)
    handler = forms.CharField(required=False, max_length=120)
    reason = forms.ChoiceField(required=False)
    state = forms.ChoiceField(required=False)
    since = forms.ChoiceField(required=False)
    cause = forms.CharField(required=False, max_length=64)

    def __init__(self, data: object) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        labels = [config.label for config in services()]
        self._offer("service", [("", "All services"), *((each, each.title()) for each in labels)])
        self._offer("reason", [("", "Any reason"), *((each, each) for each in REASONS)])
        self._offer(
            "state", [("", "Not over"), *((name, said) for name, (said, _) in STATES.items())]
        )
        self._offer(
            "since", [("", "Any time"), *((name, said) for name, (said, _) in PERIODS.items())]
        )

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def selection(self, tenant: str) -> Selection:
        """The tenant's letters that fit. Raises Invalid for what nothing can fit."""
        if not self.is_valid():
            field = min(self.errors)
            raise Invalid(f"There is no such {field}.", field=field)
        given = {name: value.strip() for name, value in self.cleaned_data.items() if value}
        since = given.pop("since", "")
        ago = timezone.now() - PERIODS[since][1] if since else None
        return Selection(tenant=tenant, since=ago, **given)

    def given(self) -> dict[str, str]:
        """What was chosen."""
        return {name: value for name, value in self.data.items() if name in self.fields and value}


@dataclass(frozen=True)
class Line:
    """A letter in the list."""

    service: str
    pk: uuid.UUID
    name: str
    handler: str
    stream: str
    reason: str
    cause: str
    error: str
    state: str
    dead_at: datetime
    due_at: datetime | None

    @property
    def said(self) -> str:
        return STATES[self.state][0]

    @property
    def tone(self) -> str:
        return STATES[self.state][1]

    @property
    def place(self) -> str:
        """What a page calls it: `inventory/0192…`."""
        return f"{self.service}/{self.pk}"


def page(selection: Selection, after: str) -> tuple[list[Line], str]:
    """The letters that fit, the latest first, after a place in the list; and the next place, if any.

    One statement for each database. Raises Invalid for a place that this list has not given.
    """
    behind = _behind(after)
    found: list[Line] = []
    for here in by_database(selection.services()).values():
        first, *others = [
            selection.letters(config)
            .filter(behind)
            .order_by("-dead_at", "-pk")
            .annotate(service=Value(config.label))
            .values_list("service", *COLUMNS)[: ON_A_PAGE + 1]
            for config in here
        ]
        rows = first.union(*others, all=True).order_by("-dead_at", "-pk") if others else first
        found += [_line(*row) for row in rows[: ON_A_PAGE + 1]]
    found.sort(key=lambda line: (line.dead_at, line.pk), reverse=True)
    more = len(found) > ON_A_PAGE
    lines = found[:ON_A_PAGE]
    return lines, f"{lines[-1].dead_at.isoformat()}~{lines[-1].pk}" if more else ""


def chosen(places: Iterable[str], tenant: str) -> list[Selection]:
    """The letters with these places, by service. Raises Invalid for what is no place."""
    ids: dict[str, list[uuid.UUID]] = {}
    for place in places:
        service, _, letter = place.partition("/")
        try:
            ids.setdefault(service, []).append(uuid.UUID(letter))
        except ValueError:
            raise Invalid(f"{place!r} is no letter.", field="letter") from None
    return [Selection(service=name, ids=tuple(each), tenant=tenant) for name, each in ids.items()]


def decide(
    decision: str, selections: Sequence[Selection], *, actor: str, note: str, rate: float | None
) -> int:
    """Decide about letters; return about how many."""
    decisions: dict[str, Callable[[Selection], int]] = {
        "retry": lambda each: desk.retry(each, actor=actor, note=note, rate=rate),
        "hold": lambda each: desk.hold(each, actor=actor, note=note),
        "give up": lambda each: desk.give_up(each, actor=actor, note=note),
    }
    return sum(decisions[decision](each) for each in selections)


def handler_names() -> list[str]:
    """All that letters may be of."""
    return sorted(handler.name for handler in handlers())


def config_of(service: str) -> ServiceConfig:
    """The service with this name. Raises NotFound."""
    (config,) = Selection(service=service).services()
    return config


def _line(service: str, pk: uuid.UUID, *values: object) -> Line:
    given = dict(zip(COLUMNS[1:], values, strict=True))
    return Line(service, pk, **given | {"error": headline(str(given["error"]))})  # type: ignore[arg-type]


def _behind(after: str) -> Q:
    if not after:
        return Q()
    at, _, letter = after.partition("~")
    try:
        moment, pk = datetime.fromisoformat(at), uuid.UUID(letter)
    except ValueError:
        raise Invalid("There is no such page.", field="after") from None
    if moment.tzinfo is None:
        raise Invalid("There is no such page.", field="after")
    return Q(dead_at__lt=moment) | Q(dead_at=moment, pk__lt=pk)
