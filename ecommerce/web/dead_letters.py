"""The dead-letter desk over HTTP, for operators, each in their own tenant.

A decision that is repeated finds nothing to decide, so it needs no `Idempotency-Key`. Personal
data, and what rows hold, is shown to callers who may also read customers.
"""

from __future__ import annotations

import uuid
from typing import Any

from ninja import Query

from ecommerce.messaging import desk, rehearsal
from ecommerce.messaging.causes import Cause, causes
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.errors import Conflict, Forbidden, Invalid, NotFound
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.services import ServiceConfig

from .access import ApiRequest, Caller, allow
from .dead_letter_schemas import (
    CauseOut,
    Content,
    Criteria,
    DecidedOut,
    Decision,
    Decisions,
    Filters,
    LetterOut,
    RehearsalOut,
    Retries,
    WholeLetterOut,
    line,
    may_see,
    rehearsed,
    whole,
)
from .paging import PageOf, page
from .routing import Router

router = Router(tags=["operations"])
operators = allow("operations")
NO_KEY = {"idempotency": False}


@router.get("/operations/dead-letters/causes", auth=operators, response=list[CauseOut])
def list_dead_letter_causes(request: ApiRequest, criteria: Query[Criteria]) -> list[Cause]:
    """What letters of all services died of, the most frequent first."""
    return causes(criteria.selection(request.auth))


@router.post(
    "/operations/dead-letters/retry",
    auth=operators,
    response=DecidedOut,
    openapi_extra=NO_KEY,
)
def retry_dead_letters(request: ApiRequest, wanted: Retries) -> dict[str, int]:
    """Send all letters out again that fit, at a limited rate if one is given."""
    chosen = _narrowed(wanted, request.auth)
    actor = request.auth.actor
    return {"letters": desk.retry(chosen, actor=actor, note=wanted.note, rate=wanted.rate)}


@router.post(
    "/operations/dead-letters/hold", auth=operators, response=DecidedOut, openapi_extra=NO_KEY
)
def hold_dead_letters(request: ApiRequest, wanted: Decisions) -> dict[str, int]:
    """Keep all letters that fit from being sent by a policy, or with others."""
    chosen = _narrowed(wanted, request.auth)
    return {"letters": desk.hold(chosen, actor=request.auth.actor, note=wanted.note)}


@router.post(
    "/operations/dead-letters/give-up", auth=operators, response=DecidedOut, openapi_extra=NO_KEY
)
def give_up_dead_letters(request: ApiRequest, wanted: Decisions) -> dict[str, int]:
    """End all letters that fit: what they ask for will not happen."""
    chosen = _narrowed(wanted, request.auth)
    return {"letters": desk.give_up(chosen, actor=request.auth.actor, note=wanted.note)}


@router.get("/operations/dead-letters/{service}", auth=operators, response=PageOf[LetterOut])
def list_dead_letters(request: ApiRequest, service: str, filters: Query[Filters]) -> dict[str, Any]:
    """A service's letters, the latest first; without a state, those that are not over."""
    given = filters.model_dump(exclude={"cursor", "limit"}, exclude_none=True)
    chosen = Selection(service=service, tenant=request.auth.tenant, **given)
    (config,) = chosen.services()
    found = page(chosen.letters(config), filters, by="dead_at")
    return {"items": [line(letter) for letter in found.items], "next": found.next}


@router.get(
    "/operations/dead-letters/{service}/{letter_id}", auth=operators, response=WholeLetterOut
)
def show_dead_letter(request: ApiRequest, service: str, letter_id: str) -> dict[str, Any]:
    """A letter, what it says, and everything that was done with it."""
    return whole(*_find(request.auth, service, letter_id), request.auth)


@router.post(
    "/operations/dead-letters/{service}/{letter_id}/dry-run",
    auth=operators,
    response=RehearsalOut,
    openapi_extra=NO_KEY,
)
def rehearse_dead_letter(
    request: ApiRequest, service: str, letter_id: str, content: Content
) -> dict[str, Any]:
    """Show what sending the letter would do, with other content if some is given.

    A delivery is run on the real rows and rolled back. Of a call only what it would be made with
    is shown: nobody outside is asked.
    """
    config, letter = _find(request.auth, service, letter_id)
    _may_write(request.auth, content)
    if content.payload is not None or content.personal is not None:
        letter = rehearsal.edited(letter, content.payload, content.personal)
    return rehearsed(rehearsal.rehearse(config, letter), request.auth)


@router.post(
    "/operations/dead-letters/{service}/{letter_id}/edit",
    auth=operators,
    response=WholeLetterOut,
    openapi_extra=NO_KEY,
)
def edit_dead_letter(
    request: ApiRequest, service: str, letter_id: str, content: Content
) -> dict[str, Any]:
    """Put other content into a letter, for the next time that it is sent; the log stays as it is."""
    config, letter = _find(request.auth, service, letter_id)
    _may_write(request.auth, content)
    edited = rehearsal.edit(
        config,
        letter.pk,
        payload=content.payload,
        personal=content.personal,
        actor=request.auth.actor,
        note=content.note,
    )
    return whole(config, edited, request.auth)


@router.post(
    "/operations/dead-letters/{service}/{letter_id}/{decision}",
    auth=operators,
    response=WholeLetterOut,
    openapi_extra=NO_KEY,
)
def decide_dead_letter(
    request: ApiRequest, service: str, letter_id: str, decision: str, why: Decision
) -> dict[str, Any]:
    """Decide about one letter: `retry`, `hold` or `give-up`."""
    config, letter = _find(request.auth, service, letter_id)
    decisions = {"retry": desk.retry, "hold": desk.hold, "give-up": desk.give_up}
    if decision not in decisions:
        raise NotFound(f"there is no decision {decision!r}; there are {', '.join(decisions)}")
    chosen = Selection(service=service, ids=(letter.pk,), tenant=request.auth.tenant)
    if not decisions[decision](chosen, actor=request.auth.actor, note=why.note):
        raise Conflict(f"the letter is {letter.state}", code="not-at-the-desk")
    return whole(config, desk.find(config, letter.pk), request.auth)


def _find(caller: Caller, service: str, letter_id: str) -> tuple[ServiceConfig, DeadLetter]:
    (config,) = Selection(service=service).services()
    try:
        wanted = uuid.UUID(letter_id)
    except ValueError:
        raise NotFound(f"{service} has no dead letter {letter_id!r}") from None
    return config, desk.find(config, wanted, caller.tenant)


def _narrowed(wanted: Decisions, caller: Caller) -> Selection:
    """What was asked for. Raises Invalid when that is everything there is."""
    if not (wanted.service or wanted.handler or wanted.name or wanted.reason or wanted.cause):
        raise Invalid(
            "Say at least which service, handler, name, reason or cause.", field="service"
        )
    return wanted.selection(caller)


def _may_write(caller: Caller, content: Content) -> None:
    if content.personal is not None and not may_see(caller):
        raise Forbidden("personal data needs the scope customers:read, too")
