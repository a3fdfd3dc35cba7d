"""The HTTP API: every service's operations under `/api`, version 1.

Here all services' routers meet; nobody imports this module but the root of addresses and tests.
Three calls of the tutorial that this platform follows are answered without the prefix, too.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import include, path, re_path, resolve
from django.utils.module_loading import module_has_submodule
from django.views.decorators.csrf import csrf_exempt

from ecommerce.messaging.services import services
from ecommerce.web import aggregates, dead_letters, problems, rebuilds
from ecommerce.web.routing import Api

DESCRIPTION = """
Every error is a problem document (RFC 9457). Lists are `{items, next}`, newest first; pass `next`
as `cursor` for the following page. Send an `Idempotency-Key` with every write that you may have to
repeat. A write answers with `X-Consistency-Token`; a read with `?waitFor=<token>` shows that write.
`X-Correlation-ID` is taken and given back.
"""


def _api() -> Api:
    api = Api(title="E-commerce platform", version="1", description=DESCRIPTION)
    for service in services():
        if module_has_submodule(service.module, "api"):
            api.add_router("", import_module(f"{service.name}.api").router)
    api.add_router("", aggregates.router)
    api.add_router("", dead_letters.router)
    api.add_router("", rebuilds.router)
    return api


def _without_prefix(*methods: str) -> Callable[..., HttpResponseBase]:
    """A view that answers as the same address under /api does, to these methods only."""

    def view(request: HttpRequest, **_: str) -> HttpResponseBase:
        if request.method not in methods:
            refusal = problems.problem(request, 405)
            refusal["Allow"] = ", ".join(methods)
            return refusal
        match = request.resolver_match = resolve(f"/api{request.path_info}")
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        return response

    view.csrf_exempt = True  # type: ignore[attr-defined]  # the operation's rule checks it
    return view


@csrf_exempt
def _unknown(request: HttpRequest) -> HttpResponse:
    return problems.problem(request, 404)


api = _api()

urlpatterns = [
    path("api/", api.urls),
    re_path(r"^api(?:/|$)", _unknown),
    path("orders", _without_prefix("POST")),
    path("customers/<customer_id>", _without_prefix("GET")),
    path("customers/<customer_id>/orders", _without_prefix("GET")),
    path("", include("ecommerce.web.health")),
]
