"""Problem documents (RFC 9457): the one form in which the API says no.

    {"type": "/problems/not-found", "title": "Not Found", "status": 404,
     "detail": "there is no order 'x'", "code": "not-found", "correlationId": "…"}

A refusal's extra members stand beside these; validation adds `errors: [{field, detail}]` with
fields named as the client sent them. `register` teaches them to a NinjaAPI; `middleware.Problems`
turns whatever else goes wrong under /api into the same form.
"""

from __future__ import annotations

import http
from typing import Any

import psycopg
import psycopg_pool
import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from ecommerce.messaging.errors import Refused

from .rendering import to_json

MEDIA_TYPE = "application/problem+json"
DATABASE_AWAY = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg_pool.PoolTimeout,
)
RETRY_SECONDS = 1

CODES = {
    400: ("bad-request", "The request cannot be read."),
    401: ("unauthenticated", "Sign in, or send a token."),
    403: ("forbidden", "You may not do this."),
    404: ("not-found", "There is nothing at this address."),
    405: ("method-not-allowed", "This address does not answer to this method."),
    409: ("conflict", "The state of things does not allow this."),
    413: ("too-large", "The request is larger than is taken here."),
    422: ("invalid", "Some fields are not acceptable; see errors."),
    429: ("too-many-requests", "Too many requests; wait a little."),
    500: ("internal", "Something went wrong here. Quote the correlation id when you report it."),
    503: ("unavailable", "The database does not answer; try again in a moment."),
}

log = structlog.get_logger(__name__)


def problem(
    request: HttpRequest,
    status: int,
    *,
    code: str | None = None,
    detail: str | None = None,
    **extra: Any,
) -> HttpResponse:
    """A problem document as a response. `extra` becomes its further members."""
    usual_code, usual_detail = CODES.get(status, ("error", "The request failed."))
    code = code or usual_code
    correlation = getattr(request, "correlation_id", None)
    document = {
        "type": f"/problems/{code}",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or usual_detail,
        "code": code,
        **extra,
        **({"correlationId": str(correlation)} if correlation else {}),
    }
    response = HttpResponse(to_json(document), status=status, content_type=MEDIA_TYPE)
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if status == 503:
        response["Retry-After"] = str(RETRY_SECONDS)
    return response


def refused(request: HttpRequest, error: Refused) -> HttpResponse:
    """The problem document of a refusal."""
    return problem(request, error.status, code=error.code, detail=error.detail, **error.extra)


def failed(request: HttpRequest, error: Exception) -> HttpResponse:
    """The problem document of an error that nobody expected; its text goes to the log only."""
    if isinstance(error, DATABASE_AWAY):
        log.warning("database unavailable", error=type(error).__name__)
        return problem(request, 503)
    if isinstance(error, RequestDataTooBig):
        return problem(request, 413)
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        return problem(request, 400)
    log.error("request failed", path=request.path, exc_info=error)
    return problem(request, 500)


def register(api: NinjaAPI) -> None:
    """Make this API answer every error with a problem document."""
    handlers: dict[type[Exception], Any] = {
        Refused: refused,
        ValidationError: _not_valid,
        HttpError: _http_error,
        Http404: not_found,
        Exception: failed,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _not_valid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    if any(item["loc"][:1] == ("path",) for item in error.errors):
        return problem(request, 404)  # an id of the wrong form is an id that does not exist
    return problem(request, 422, errors=[_field_error(item) for item in error.errors])


def _field_error(item: dict[str, Any]) -> dict[str, str]:
    source, *path = item["loc"]
    if source == "body":
        path = path[1:]  # the operation's own name for the body, which the client never wrote
    detail = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return {"field": ".".join(str(part) for part in path) or source, "detail": detail}


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    cause = error.__cause__
    if isinstance(cause, Refused):
        return refused(request, cause)
    if isinstance(cause, RequestDataTooBig):
        return problem(request, 413)
    return problem(request, error.status_code)


def not_found(request: HttpRequest, *_: object, **__: object) -> HttpResponse:
    """The view for addresses under /api that do not exist."""
    return problem(request, 404)
