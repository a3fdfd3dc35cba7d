"""Around every request: its correlation id, its tenant, and one form of error for the whole API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from csp.constants import HEADER as POLICY_HEADER
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ecommerce.messaging import tenancy

from .access import tenant_of_page
from .correlation import HEADER, correlation_of, traceparent_of
from .problems import MEDIA_TYPE, problem

Respond = Callable[[HttpRequest], HttpResponseBase]

NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""The policy of an answer that is no page."""


class RequestContext:
    """First in MIDDLEWARE: what comes later logs with the request's correlation id, and acts for
    nobody in the database before it is known for whom.

    Turns every error page under /api into a problem document, whoever made it: Django for an
    unknown address or host, Ninja for a method that is not allowed.
    """

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        correlation, shown = correlation_of(request.headers.get(HEADER))
        request.correlation_id = correlation  # type: ignore[attr-defined]
        request.traceparent = traceparent_of(request.headers.get("traceparent"))  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=str(correlation))
        try:
            with tenancy.acting_for(tenancy.NOBODY):
                response = self._respond(request)
        finally:
            structlog.contextvars.clear_contextvars()
        response[HEADER] = shown
        if consistency := getattr(request, "consistency", ""):
            response["X-Consistency"] = consistency
        return response

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info:  # PostgreSQL's text has none, so nothing has such an id
            return problem(request, 404)
        if not is_api(request):
            return self.get_response(request)
        response = self.get_response(request)
        if response.status_code < 400 or response.get("Content-Type", "").startswith(MEDIA_TYPE):
            return response
        return _as_problem(request, response)


class TenantOfPage:
    """After AuthenticationMiddleware: pages act for their visitor's tenant. An operation of the
    API finds its caller, and so its tenant, by itself.
    """

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request):
            tenant = tenant_of_page(request)
            structlog.contextvars.bind_contextvars(tenant=tenant)
            tenancy.act_for(tenant)
        return self.get_response(request)


class PageMessages(MessageMiddleware):
    """What pages tell their visitor at the next one; the API has its answers."""

    def process_request(self, request: HttpRequest) -> None:
        if not is_api(request):
            super().process_request(request)


class ContentPolicy(CSPMiddleware):
    """The policy of our own pages; those of libraries get what CONTENT_SECURITY_POLICY_FOR says of
    their addresses."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.get("Content-Type", "").startswith(("application/json", MEDIA_TYPE)):
            response[POLICY_HEADER] = NOTHING
            return response
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, *args: Any, **options: Any
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, *args, **options)
        for prefix, needed in settings.CONTENT_SECURITY_POLICY_FOR.items():
            if request.path_info.startswith(prefix):
                parts.replace = (parts.replace or {}) | needed
        return parts


def is_api(request: HttpRequest) -> bool:
    """Whether the address belongs to the API."""
    return request.path_info == "/api" or request.path_info.startswith("/api/")


def _as_problem(request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
    document = problem(request, response.status_code)
    for header in ("Allow", "Retry-After"):
        if header in response:
            document[header] = response[header]
    return document
