'''What every HTTP interface of the platform shares. A service's `api.py` is written like this:

    """The orders service over HTTP."""

    from ecommerce.messaging.errors import NotFound
    from ecommerce.messaging.models import uuid7
    from ecommerce.web import ApiRequest, PageOf, Paging, Router, allow, page, public, reads, run

    from . import queries
    from .contracts import CancelOrder, CreateOrder
    from .schemas import NewOrder, OrderOut

    router = Router(tags=["orders"])


    @router.post("/orders", auth=allow("orders:write"), response={201: OrderOut})
    def create_order(request: ApiRequest, order: NewOrder) -> HttpResponse:
        """Place an order."""                        # summary and description in the API docs
        caller = request.auth                        # a Caller: tenant, actor, scopes, customer_id
        if not caller.owns(order.customer_id):       # a customer may only order for themselves
            raise NotFound(f"there is no customer {order.customer_id!r}")
        command = CreateOrder(order_id=str(uuid7()), customer_id=order.customer_id, lines=...)
        return run(
            request,
            command,
            location=f"/api/orders/{command.order_id}",
            body=lambda outcome: OrderOut.model_validate(outcome.row(Order)),
        )


    @router.post("/orders/{order_id}/cancel", auth=allow("orders:write"), response=OrderOut)
    def cancel_order(request: ApiRequest, order_id: str) -> HttpResponse:
        """Cancel an order that was not handed to shipping."""
        ...                                          # ownership first: 404 for another's order
        return run(request, CancelOrder(order_id=order_id), status=200, body=...)


    @router.get("/orders", auth=allow("orders:read"), response=PageOf[OrderOut])
    def list_orders(request: ApiRequest, paging: Query[Paging]) -> Page:
        """All orders, newest first."""
        return page(queries.orders(request.auth.tenant), paging, by="created_at")


    @router.get("/customers/{customer_id}", auth=allow("customers:read"), response=CustomerOut)
    @reads("customers")                              # ?waitFor=<token> waits for this service
    def customer(request: ApiRequest, customer_id: str) -> Customer:
        """What we know of a customer."""
        ...

and its `schemas.py` like this (Python names in snake_case, JSON names in camelCase):

    class NewLine(Input):                            # Input: unknown JSON fields are refused
        product_id: PublicId
        quantity: Annotated[int, Field(ge=1, le=10_000)]
        unit_price: MoneyIn | None = None            # JSON 19.99 -> int 1999; never a float

    class OrderOut(Output):                          # Output: filled from a row, struct or dict
        order_id: str
        total_amount: MoneyOut                       # int 3998 -> JSON 39.98, exactly
        currency: str
        created_at: datetime

Rules:

- Every operation has `auth=allow(<scope>, …)` (any one of them is enough) or `auth=public`; the
  router refuses one without. A public operation has a caller as well, without scopes unless they
  signed in: its tenant is the one to answer for. Paths begin with `/`, without `/api`.
- A refusal is an exception of `ecommerce.messaging.errors` (NotFound, Conflict, Invalid,
  Forbidden); it becomes a problem document. Never build an error response by hand.
- `caller.customer_id` is set when the caller may see only their own things. Narrow a query with
  it (`caller.owns(customer_id)` is true for staff); somebody else's thing is a 404, like one that
  does not exist.
- Path parameters are plain `str`. Query parameters are fields of an `Input` taken as
  `Query[...]`, so that they are camelCase, too; subclass `Paging` for a list with filters.
  NUL and broken text never reach an operation.
- `find_fresh(find, id)` waits a moment for a read model when the id is only seconds old, so that
  GET of a `Location` right after the 201 never answers 404.

Signatures:

    class Router(ninja.Router)                       # by_alias on, explicit rule, problems documented
    allow(*scopes: Scope) -> Rule;  public: Rule
    class Caller: tenant: str; actor: str; scopes: frozenset[str]; customer_id: str | None
        may(scope) -> bool;  owns(customer_id) -> bool
    class ApiRequest(HttpRequest): auth: Caller; correlation_id: uuid.UUID
    run(request, command, *, status=201, location=None, body, person=None) -> HttpResponse
        location: str | Callable[[Outcome], str] | None;  body: Callable[[Outcome], object]
        person: id of the person whose data the body holds (default: the command's own person)
    page(queryset, paging, *, by="created_at", descending=True) -> Page   # items, next
    Paging (Input: cursor, limit 1..100, default 20);  PageOf[T] (Output: items, next)
    reads(service)                                   # decorator, below the router's
    find_fresh(find: Callable[[], T | None], public_id: str) -> T | None
    Input, Output, MoneyIn, MoneyOut, PublicId, Text, AddressIn, AddressOut, minor_units
    MomentIn: a version or an instant;  Between (Input: from, to)
'''

from ecommerce.identity.scopes import Scope

from .access import ApiRequest, Caller, Rule, allow, public
from .commands import run
from .consistency import find_fresh, reads
from .paging import Page, PageOf, Paging, page
from .routing import Router
from .schemas import (
    AddressIn,
    AddressOut,
    Between,
    Input,
    MomentIn,
    MoneyIn,
    MoneyOut,
    Output,
    PublicId,
    Text,
    minor_units,
)

__all__ = [
    "AddressIn",
    "AddressOut",
    "ApiRequest",
    "Between",
    "Caller",
    "Input",
    "MomentIn",
    "MoneyIn",
    "MoneyOut",
    "Output",
    "Page",
    "PageOf",
    "Paging",
    "PublicId",
    "Router",
    "Rule",
    "Scope",
    "Text",
    "allow",
    "find_fresh",
    "minor_units",
    "page",
    "public",
    "reads",
    "run",
]
