"""What the dead-letter desk takes and answers over HTTP."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from ecommerce.messaging import desk
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.reasons import Reason, headline
from ecommerce.messaging.rehearsal import Rehearsal
from ecommerce.messaging.services import ServiceConfig

from .access import Caller
from .paging import Paging
from .schemas import Input, Output

State = Literal["waiting", "held", "retrying", "resolved", "given_up"]
Name = Annotated[str, Field(max_length=120)]


class Criteria(Input):
    """Which letters; without a state, those that are not over."""

    service: Name = ""
    handler: Name = ""
    name: Annotated[Name, Field(description="Of the message, such as `orders.OrderCreated`.")] = ""
    reason: Reason | None = None
    cause: Annotated[Name, Field(description="As the list of causes names it.")] = ""
    state: State | None = None
    since: Annotated[datetime | None, Field(description="They died at this time or later.")] = None

    def selection(self, caller: Caller) -> Selection:
        """The caller's tenant's letters that fit. Raises Invalid for a time without a zone."""
        if self.since is not None and self.since.tzinfo is None:
            raise Invalid(
                "Write a time with its zone, such as 2026-03-01T12:00:00Z.", field="since"
            )
        given = self.model_dump(include=set(Criteria.model_fields), exclude_none=True)
        return Selection(tenant=caller.tenant, **given)


class Filters(Paging):
    """What a list of letters may be narrowed down to."""

    handler: Name = ""
    reason: Reason | None = None
    cause: Name = ""
    state: State | None = None


class Decision(Input):
    """Why, for the letter's trail."""

    note: Annotated[str, Field(max_length=400)] = ""


class Decisions(Criteria):
    """Which letters, and why. Without a state, only letters that wait are decided about."""

    note: Annotated[str, Field(max_length=400)] = ""


class Retries(Decisions):
    """Which letters to send, and how fast."""

    rate: Annotated[
        float | None,
        Field(gt=0, le=desk.FASTEST, description="Letters a second; all at once without."),
    ] = None


class Content(Input):
    """What to put into the letter; what is not given stays. Names are those of the contract."""

    payload: dict[str, Any] | None = None
    personal: dict[str, Any] | None = None
    note: Annotated[str, Field(max_length=400)] = ""


class CauseOut(Output):
    service: str
    cause: str
    handler: str
    reason: str
    letters: int
    first: datetime
    last: datetime
    error: str


class LetterOut(Output):
    letter_id: uuid.UUID
    service: str
    name: str
    handler: str
    stream: str
    reason: str
    cause: str
    error: str
    state: State
    attempts: int
    redrives: int
    dead_at: datetime
    due_at: datetime | None


class ActionOut(Output):
    """A line of a letter's trail."""

    action: str
    actor: str
    note: str
    at: datetime
    payload_before: Any = None


class WholeLetterOut(LetterOut):
    """A letter with what it says and what was done with it."""

    message_id: uuid.UUID
    correlation_id: uuid.UUID
    actor: str
    payload: Any
    personal: Any
    trail: list[ActionOut]


class ChangeOut(Output):
    """A row that would be added or changed. Values are for callers who may read customers."""

    row: str
    added: bool
    columns: list[str]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class SentOut(Output):
    """A message that would be sent, or a call that would be made."""

    name: str
    effect: str
    at: datetime | None
    payload: Any
    personal: Any


class RehearsalOut(Output):
    """What sending the letter would do, or the error that it would end with."""

    error: str
    calls: str
    changes: list[ChangeOut]
    sent: list[SentOut]


class DecidedOut(Output):
    """How many letters it was decided about."""

    letters: int


def may_see(caller: Caller) -> bool:
    """Whether the caller is shown personal data."""
    return caller.may("customers:read") and caller.customer_id is None


def line(letter: DeadLetter) -> dict[str, Any]:
    """A letter in a list."""
    names = [
        name for name in LetterOut.model_fields if name not in ("letter_id", "service", "error")
    ]
    return {name: getattr(letter, name) for name in names} | {
        "letter_id": letter.pk,
        "service": letter._meta.app_label,
        "error": headline(letter.error),
    }


def whole(config: ServiceConfig, letter: DeadLetter, caller: Caller) -> dict[str, Any]:
    """A letter with its content and its trail."""
    personal = letter.personal if may_see(caller) else None
    trail = [
        {
            "action": each.action,
            "actor": each.actor,
            "note": each.note,
            "at": each.done_at,
            "payload_before": _json(each.payload_before),
        }
        for each in desk.trail(config, letter.pk)
    ]
    return line(letter) | {
        "message_id": letter.message_id,
        "correlation_id": letter.correlation_id,
        "actor": letter.actor,
        "payload": _json(letter.payload),
        "personal": _json(personal),
        "trail": trail,
    }


def rehearsed(found: Rehearsal, caller: Caller) -> dict[str, Any]:
    """What a rehearsal has found."""
    shown = may_see(caller)
    return {
        "error": found.error,
        "calls": found.calls,
        "changes": [
            {
                "row": change.row,
                "added": change.before is None,
                "columns": list(change.after),
                "before": change.before if shown else None,
                "after": change.after if shown else None,
            }
            for change in found.changes
        ],
        "sent": [
            {
                "name": sent.name,
                "effect": sent.effect,
                "at": sent.at,
                "payload": _json(sent.payload),
                "personal": _json(sent.personal) if shown else None,
            }
            for sent in found.sent
        ],
    }


def _json(text: str | None) -> Any:
    """What is stored; as the text that it is, when it is no JSON."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
