"""For whom the database works: the second line behind the tenant filter of every query.

A request acts for one tenant. On the connections that it uses PostgreSQL then has the role
`shop_web`, to which row security shows that tenant's rows alone: a query without its filter finds
too little, never another shop's rows. Workers and commands act for EVERY tenant, as their login.

Role and tenant stay on a connection that goes back to its pool. So it is told anew for whom it
works before it is used: the kernel's pool does so in place of a check whether it still lives, and
Django's connections do before the first statement that runs for somebody else.

What runs in a web process but not in a request, such as a thread or a streamed body, acts for
NOBODY until it says `with acting_for(tenant):`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

WEB_ROLE = "shop_web"
EVERY = "*"
NOBODY = ""
"""Sees no row of any tenant."""

TOLD_SECONDS = 1.0
"""For how long a pooled connection that was just used is trusted to live."""
TELL = "SELECT set_config('role', %b::text, false), set_config('messaging.tenant', %b::text, false)"


@dataclass
class _Process:
    """What this process does when nobody says for whom."""

    otherwise: str = EVERY


_process = _Process()
_acting: ContextVar[str] = ContextVar("acting")
_told: WeakKeyDictionary[psycopg.Connection[Any], str | None] = WeakKeyDictionary()
"""For whom each of Django's connections works; None when a rollback may have changed it."""
_lately: WeakKeyDictionary[psycopg.Connection[Any], tuple[str, float]] = WeakKeyDictionary()
"""For whom each of the kernel's pooled connections works, and when it was told."""


def acting() -> str:
    """The tenant that this thread works for, EVERY or NOBODY."""
    return _acting.get(_process.otherwise)


def act_for(tenant: str) -> None:
    """Work for this tenant from now on: until the end of the `acting_for` around it."""
    _acting.set(tenant)


@contextmanager
def acting_for(tenant: str) -> Iterator[None]:
    """Work for this tenant, and afterwards for whom it was before."""
    before = _acting.set(tenant)
    try:
        yield
    finally:
        _acting.reset(before)


def confine() -> None:
    """Let this process work for NOBODY unless it says for whom. A web process does so at once."""
    _process.otherwise = NOBODY


def tell(conn: psycopg.Connection[Any]) -> None:
    """Let a pooled connection that is not in a transaction work for whom this thread works for.

    It is not told the same again within TOLD_SECONDS. Raises psycopg's errors when it is broken, or
    may not act as WEB_ROLE.
    """
    tenant, told = _lately.get(conn, (None, 0.0))
    now = time.monotonic()
    if tenant != acting() or now - told > TOLD_SECONDS:
        conn.execute(TELL, _role_and_tenant())
        _lately[conn] = acting(), now


def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Receive Django's `connection_created`: its statements are for whom its thread works for."""
    if _for_its_tenant not in connection.execute_wrappers:
        connection.execute_wrappers.append(_for_its_tenant)


def _role_and_tenant() -> tuple[str, str]:
    tenant = acting()
    return ("none" if tenant == EVERY else WEB_ROLE), tenant


def _for_its_tenant(execute: Callable[..., Any], *statement: Any) -> Any:
    """What Django calls around each statement; the last argument is its context."""
    connection: BaseDatabaseWrapper = statement[-1]["connection"]
    raw: psycopg.Connection[Any] = connection.connection
    if _told.get(raw, EVERY) != acting() and not _failed(raw):
        with connection.wrap_database_errors:
            psycopg.Cursor(raw).execute(TELL, _role_and_tenant())
        # What is set in a transaction is taken back with it.
        _told[raw] = None if connection.in_atomic_block else acting()
    return execute(*statement)


def _failed(raw: psycopg.Connection[Any]) -> bool:
    """Whether it is in a failed transaction, which takes nothing but its rollback."""
    return raw.info.transaction_status == TransactionStatus.INERROR
