"""Who calls, and whether they may.

A caller is found from a Bearer token, else from a signed-in session, else, in development and
from this machine only, is anyone (`SHOP_OPEN`). The tenant always comes from the credential;
only the open caller names one, in `X-Tenant`.

Each operation has a `Rule`. `access_table` lists them all; `docs/access.md` is made from it.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import NinjaAPI
from ninja.utils import check_csrf

from ecommerce.identity import scopes, tenants
from ecommerce.identity.models import ApiToken, User
from ecommerce.identity.scopes import Scope
from ecommerce.messaging import tenancy
from ecommerce.messaging.errors import Forbidden, NotFound, Refused

View = Callable[..., HttpResponseBase]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Unauthenticated(Refused):
    """The operation needs a caller, and the request has no valid credential."""

    status = 401
    code = "unauthenticated"


@dataclass(frozen=True)
class Caller:
    """Who asks: `actor` names them in events, `customer_id` limits them to one customer."""

    tenant: str
    actor: str
    scopes: frozenset[str]
    customer_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope."""
        return scope in self.scopes

    def owns(self, customer_id: str) -> bool:
        """Whether this customer's things are the caller's to see: their own, or all of them."""
        return self.customer_id is None or self.customer_id == customer_id


class PageRequest(HttpRequest):
    """A request as pages see it that are for some callers only."""

    auth: Caller


class ApiRequest(PageRequest):
    """A request as operations see it."""

    correlation_id: uuid.UUID
    traceparent: str | None


class Rule:
    """Who may call an operation: everyone, or those with any one of the scopes.

    Ninja calls it with the request and puts what it returns into `request.auth`.
    """

    csrf = True  # tells Ninja's pages to send the CSRF token

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = scopes

    def __call__(self, request: HttpRequest) -> Caller:
        """The caller; the rest of the request acts for their tenant.

        Raises Unauthenticated or Forbidden.
        """
        caller = self._admit(caller_of(request))
        tenancy.act_for(caller.tenant)
        structlog.contextvars.bind_contextvars(tenant=caller.tenant, actor=caller.actor)
        return caller

    def _admit(self, caller: Caller | None) -> Caller:
        if not self.scopes:
            return caller or anonymous()
        if caller is None:
            raise Unauthenticated("sign in, or send a token: Authorization: Bearer shop_…")
        if caller.scopes.isdisjoint(self.scopes):
            raise Forbidden(
                f"this needs the scope {' or '.join(self.scopes)}", scopes=list(self.scopes)
            )
        return caller

    def __str__(self) -> str:
        return " or ".join(f"`{scope}`" for scope in self.scopes) or "everyone"


def allow(*scopes: Scope) -> Rule:
    """The rule for callers who have any one of these scopes."""
    if not scopes:
        raise ValueError("allow() needs a scope; an operation for everyone is auth=public")
    return Rule(*scopes)


public = Rule()


def page_for(*scopes: Scope) -> Callable[[View], View]:
    """Decorator of a page: only callers with any one of these scopes see it.

    Somebody who is not signed in is asked to, somebody else gets 403. In development every visitor
    from this machine may (`SHOP_OPEN`), whoever they are signed in as. The caller is `request.auth`.
    """
    rule = allow(*scopes)

    def restrict(view: View) -> View:
        @wraps(view)
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                caller = rule(request)
            except Unauthenticated:
                return redirect_to_login(request.get_full_path())
            except Forbidden as refusal:
                open_caller = _open_caller(request)
                if open_caller is None or refusal.code == "csrf-failed":
                    raise PermissionDenied(refusal.detail) from refusal
                caller = open_caller
                tenancy.act_for(caller.tenant)
            request.auth = caller  # type: ignore[attr-defined]
            return view(request, *args, **kwargs)

        return page

    return restrict


def anonymous() -> Caller:
    """Somebody who did not sign in."""
    return Caller(tenants.default(), "anonymous", frozenset())


def caller_of(request: HttpRequest) -> Caller | None:
    """The caller, or None when the request has no credential.

    Raises Unauthenticated for a credential that is not valid, and Forbidden for a write with a
    session that lacks the CSRF token.
    """
    if "Authorization" in request.headers:
        return _token_caller(request.headers["Authorization"])
    return _session_caller(request) or _open_caller(request)


def _token_caller(header: str) -> Caller:
    scheme, _, secret = header.partition(" ")
    token = ApiToken.find(secret.strip()) if scheme.lower() == "bearer" else None
    if token is None:
        raise Unauthenticated("the token is unknown, expired or revoked")
    return Caller(
        tenant=token.tenant_id,
        actor=f"token:{token.pk}",
        scopes=token.allowed(),
        customer_id=token.own_customer(),
    )


def _session_caller(request: HttpRequest) -> Caller | None:
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    user = getattr(request, "user", None)
    if not isinstance(user, User) or not tenants.is_active(str(user.tenant_id)):
        return None
    if request.method not in SAFE_METHODS and check_csrf(request):
        raise Forbidden("the CSRF token is missing or wrong", code="csrf-failed")
    return Caller(
        tenant=str(user.tenant_id),
        actor=f"user:{user.pk}",
        scopes=user.scopes(),
        customer_id=user.own_customer(),
    )


def tenant_of_page(request: HttpRequest) -> str:
    """For whom a page acts that is no operation of the API: a superuser's show every tenant."""
    if settings.SESSION_COOKIE_NAME in request.COOKIES and isinstance(request.user, User):
        return request.user.works_for()
    return tenants.default()


def _open_caller(request: HttpRequest) -> Caller | None:
    if not (getattr(settings, "SHOP_OPEN", False) and _from_this_machine(request)):
        return None
    tenant = request.headers.get("X-Tenant", tenants.default())
    if tenant != tenants.default() and not tenants.is_active(tenant):
        raise NotFound(f"there is no tenant {tenant!r}", code="unknown-tenant")
    return Caller(tenant, "development", scopes.ALL)


def _from_this_machine(request: HttpRequest) -> bool:
    address = direct_address(request)
    return address is not None and address.is_loopback


def direct_address(
    request: HttpRequest,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Who asks, if not through a proxy, and not by a page of another site in their browser."""
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP")):
        return None
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return None
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return None


@dataclass(frozen=True)
class Access:
    """One line of the access table."""

    method: str
    path: str
    rule: Rule | None
    summary: str


def access_table(api: NinjaAPI) -> Iterator[Access]:
    """Every operation with its rule, by path and method."""
    rows = [
        Access(
            method, f"/api{bound.prefix}{path}", _rule(operation.auth_callbacks), operation.summary
        )
        for bound in api._get_bound_routers()  # Ninja has no public way to list them
        for path, view in bound.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    ]
    yield from sorted(rows, key=lambda row: (row.path, row.method))


def as_markdown(rows: Iterable[Access]) -> str:
    """The access table as it stands in `docs/access.md`."""
    lines = [
        "# Who may call what",
        "",
        "Made from the code; a test keeps it true. A caller needs any one of the scopes named.",
        "A customer, or a token bound to one, reaches that customer's things only.",
        "",
        "| Operation | Who | What |",
        "|---|---|---|",
        *(f"| `{row.method} {row.path}` | {row.rule} | {row.summary} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _rule(callbacks: object) -> Rule | None:
    found = [callback for callback in callbacks or () if isinstance(callback, Rule)]  # type: ignore[attr-defined]
    return found[0] if len(found) == 1 else None
