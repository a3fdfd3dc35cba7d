"""From a request to a command on the bus, and back to a response.

`run` is the only way that an operation changes anything. With an `Idempotency-Key` the response
is stored in the command's own transaction, and given again to the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from django.http import HttpRequest, HttpResponse

from ecommerce.messaging import bus
from ecommerce.messaging.bus import IdempotencyRequest, Outcome, Response
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.messages import Message, contract_of

from .access import ApiRequest, Caller
from .rendering import from_json, to_json

KEY_HEADER = "Idempotency-Key"
LONGEST_KEY = 255
_printable = {chr(code) for code in range(0x21, 0x7F)} | {" "}


def run(
    request: ApiRequest,
    command: Message,
    *,
    body: Callable[[Outcome], object],
    status: int = 201,
    location: str | Callable[[Outcome], str] | None = None,
    person: str | None = None,
) -> HttpResponse:
    """Execute the command for the request's caller and answer with `body` of its outcome.

    `body` and `location` run inside the transaction and must not query. `person` is whose data
    the body holds, for its later erasure; by default the person of the command's contract.
    Raises whatever `bus.execute` refuses with.
    """

    def respond(outcome: Outcome) -> Response:
        headers = {}
        if location is not None:
            headers["Location"] = location if isinstance(location, str) else location(outcome)
        return Response(status, headers, to_json(body(outcome)).decode())

    caller = request.auth
    outcome = bus.execute(
        command,
        tenant=caller.tenant,
        actor=caller.actor,
        correlation_id=request.correlation_id,
        traceparent=request.traceparent,
        idempotency=_idempotency(request, caller, person or _person_of(command)),
        respond=respond,
    )
    answer = outcome.response or respond(outcome)
    response = HttpResponse(
        answer.body, status=answer.status, headers=answer.headers, content_type="application/json"
    )
    if outcome.token:
        response["X-Consistency-Token"] = outcome.token
    if outcome.replayed:
        response["Idempotency-Replayed"] = "true"
    return response


def _idempotency(
    request: HttpRequest, caller: Caller, person: str | None
) -> IdempotencyRequest | None:
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY or not _printable.issuperset(key):
        raise Invalid(
            f"A key has 1 to {LONGEST_KEY} printable ASCII characters.",
            field=KEY_HEADER,
            code="bad-idempotency-key",
        )
    match = request.resolver_match
    assert match is not None
    return IdempotencyRequest(
        caller=_who(request, caller),
        route=f"{request.method} {match.route}",
        key=key,
        fingerprint=_fingerprint(request, match.kwargs),
        person=person,
    )


def _who(request: HttpRequest, caller: Caller) -> str:
    """Strangers must not be given each other's answers, even if their keys are the same."""
    if caller.actor == "anonymous":
        return f"anonymous {request.META.get('REMOTE_ADDR', '')}"
    return caller.actor


def _fingerprint(request: HttpRequest, ids: dict[str, str]) -> str:
    """Of what is asked, not of how it is written: key order and spaces do not count."""
    body = from_json(request.body) if request.body else None
    asked = [request.method, ids, sorted(request.GET.lists()), body]
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _person_of(command: Message) -> str | None:
    field = contract_of(command).person_field
    return None if field is None else str(getattr(command, field))
