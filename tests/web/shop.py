"""A small API, made with the platform's parts, for tests of these parts."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from django.contrib import admin
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from ninja import Query
from pydantic import Field

from ecommerce.identity.models import ApiToken
from ecommerce.messaging.errors import Conflict, NotFound
from ecommerce.web import (
    ApiRequest,
    Input,
    MoneyIn,
    MoneyOut,
    Output,
    Page,
    PageOf,
    Paging,
    PublicId,
    Router,
    allow,
    page,
    public,
)
from ecommerce.web.problems import not_found
from ecommerce.web.routing import Api

router = Router(tags=["things"])
others = Router(tags=["others"])


class NewLine(Input):
    product_id: PublicId
    unit_price: MoneyIn


class NewThing(Input):
    customer_id: PublicId
    items: Annotated[list[NewLine], Field(min_length=1)]


class ThingOut(Output):
    customer_id: str
    total_amount: MoneyOut


class Filters(Paging):
    created_by: str = ""


class TokenOut(Output):
    name: str


@router.post("/things", auth=allow("orders:write"), response={201: ThingOut})
def make_thing(request: ApiRequest, thing: NewThing) -> HttpResponse | Any:
    """Make a thing."""
    if not request.auth.owns(thing.customer_id):
        raise NotFound("there is no such customer")
    total = sum(line.unit_price for line in thing.items)
    return ThingOut(customer_id=thing.customer_id, total_amount=total)


@router.get("/things/{customer_id}", auth=allow("orders:read", "operations"), response=ThingOut)
def get_thing(request: ApiRequest, customer_id: str) -> ThingOut:
    """One thing."""
    if not request.auth.owns(customer_id):
        raise NotFound("there is no such customer")
    return ThingOut(customer_id=customer_id, total_amount=4000)


@others.delete("/things/{customer_id}", auth=allow("operations"), response={204: None})
def drop_thing(request: ApiRequest, customer_id: str) -> None:
    """Remove a thing. Another service's operation at the same address."""


@router.get("/who", auth=public)
def who(request: ApiRequest) -> dict[str, Any]:
    """The caller, as the operation sees them."""
    caller = request.auth
    return {
        "tenant": caller.tenant,
        "actor": caller.actor,
        "scopes": sorted(caller.scopes),
        "customerId": caller.customer_id,
        "correlationId": request.correlation_id,
    }


@router.get("/log", auth=public)
def log_context(request: ApiRequest) -> dict[str, Any]:
    """What every line of the log says during this request."""
    return structlog.contextvars.get_contextvars()


@router.post("/who", auth=public)
def who_writes(request: ApiRequest) -> dict[str, Any]:
    """The caller of a write."""
    return {"actor": request.auth.actor}


@router.get("/tokens", auth=public, response=PageOf[TokenOut])
def list_tokens(request: ApiRequest, filters: Query[Filters]) -> Page[ApiToken]:
    """Something to turn pages in."""
    return page(ApiToken.objects.filter(name__startswith=filters.created_by), filters)


@router.get("/number/{number}", auth=public)
def number(request: ApiRequest, number: int) -> int:
    """A path parameter with a form of its own."""
    return number


@router.get("/fails/{how}", auth=public)
def fails(request: ApiRequest, how: str) -> None:
    """Go wrong."""
    raise {
        "bug": ValueError("the secret is swordfish"),
        "away": OperationalError("connection to server at 10.0.0.1 failed"),
        "price": Conflict("the price changed", code="price-changed", currentPrice=1999),
    }[how]


def page_without_api(request: HttpRequest) -> HttpResponse:
    """An ordinary page."""
    return HttpResponse("a page")


api = Api(title="Things", version="1")
api.add_router("", router)
api.add_router("", others)

urlpatterns = [
    path("api/", api.urls),
    re_path(r"^api(/|$)", not_found),
    path("page", page_without_api),
    path("admin/", admin.site.urls),
    path("", include("ecommerce.web.health")),
]
