"""Reading what one has just written, although read models follow a moment later.

Every write answers with `X-Consistency-Token`; a read with `?waitFor=<token>` waits until its
service has applied that write, two seconds at most. When it could not wait long enough it serves
what there is and says `X-Consistency: stale`; `failed` when it need not wait, since applying the
write has failed and is tried again later.
"""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.http import HttpRequest
from ninja.operation import Operation
from ninja.utils import contribute_operation_callback

from ecommerce.messaging import consistency
from ecommerce.messaging.consistency import Sight
from ecommerce.messaging.errors import Invalid

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])

WAIT_SECONDS = 2.0
FRESH_SECONDS = 10.0
LONGEST_TOKEN = 2000

# Anybody can make up fresh ids: they must not be able to keep every thread waiting.
_waiting = threading.BoundedSemaphore(8)

SHOWN = {Sight.SEEN: "", Sight.LATE: "stale", Sight.FAILED: "failed"}
"""What `X-Consistency` says."""

WAIT_FOR = {
    "in": "query",
    "name": "waitFor",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `X-Consistency-Token` of a write that this read must show.",
}


def reads(service: str) -> Callable[[View], View]:
    """Let an operation wait for the write that `?waitFor=` names, in this service's read models."""

    def decorate(view: View) -> View:
        contribute_operation_callback(view, lambda operation: _make_wait(operation, service))
        return view

    return decorate


def find_fresh(find: Callable[[], T | None], public_id: str) -> T | None:
    """What `find` finds; while it finds nothing and the id is only seconds old, ask again.

    Ids made here are UUIDv7 and carry the time they were made at, so that an id that never was
    costs no waiting.
    """
    found = find()
    if found is not None or not _is_fresh(public_id) or not _waiting.acquire(blocking=False):
        return found
    try:
        return _ask_again(find)
    finally:
        _waiting.release()


def _ask_again(find: Callable[[], T | None]) -> T | None:
    until = time.monotonic() + WAIT_SECONDS
    pause = 0.01
    while (found := find()) is None and time.monotonic() < until:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return found


def _wait(service: str, token: str, tenant: str) -> Sight:
    if len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise Invalid("This is not a consistency token.", field="waitFor", code="bad-token")
    return consistency.wait_for(service, token, tenant=tenant, timeout=WAIT_SECONDS)


def _is_fresh(public_id: str) -> bool:
    try:
        made = uuid.UUID(public_id)
    except ValueError:
        return False
    if made.version != 7:
        return False
    age = time.time() - (made.int >> 80) / 1000
    return -FRESH_SECONDS < age < FRESH_SECONDS


def _make_wait(operation: Operation, service: str) -> None:
    """Ninja reads the view's annotations in its own module, so the view itself stays as it is."""
    view = operation.view_func

    @functools.wraps(view)
    def waiting(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if token := request.GET.get("waitFor"):
            sight = _wait(service, token, request.auth.tenant)  # type: ignore[attr-defined]
            request.consistency = SHOWN[sight]  # type: ignore[attr-defined]
        return view(request, *args, **kwargs)

    operation.view_func = waiting
    extra = dict(operation.openapi_extra or {})
    extra["parameters"] = [*extra.get("parameters", []), WAIT_FOR]
    operation.openapi_extra = extra
