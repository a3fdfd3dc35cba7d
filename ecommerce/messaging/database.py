"""The kernel's own connections.

The kernel begins and commits on connections of its own, because it sends a whole batch, COMMIT
included, in one pipeline (see `wire`). They come from a small pool for each database, and their plans
stay right however empty the tables were when they were prepared.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from psycopg_pool import ConnectionPool

from . import tenancy
from .wire import Connection

__all__ = ["SESSION", "Connection", "close_pools", "connect", "connection"]

POOL_SIZE = 16
TIMEOUT = 10.0
"""Seconds to wait for a free connection."""

# Kernel statements find rows by key, whatever the statistics said when the plan was made.
SESSION = " ".join(
    f"-c {setting}"
    for setting in (
        "jit=off",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "plan_cache_mode=force_generic_plan",
        "lock_timeout=10s",
        "idle_in_transaction_session_timeout=10s",
    )
)

_pools: dict[str, ConnectionPool[Connection]] = {}
_lock = threading.Lock()


@contextmanager
def connection(alias: str) -> Iterator[Connection]:
    """A pooled connection in autocommit mode, which works for whom its thread does (`tenancy`).

    It is closed instead of reused if it was left broken.

    Raises psycopg_pool.PoolTimeout when none is free within TIMEOUT.
    """
    pool = _pool(alias)
    conn = pool.getconn()
    try:
        yield conn
    finally:
        pool.putconn(conn)  # which ends a transaction that was left open


def connect(alias: str, name: str = "messaging") -> Connection:
    """A connection of the caller's own, in autocommit mode, to be closed by the caller.

    The server knows it by `name`: a worker's connections are ended when its leases are taken over.
    """
    parameters = _parameters(alias) | {"application_name": name}
    return Connection.connect(**parameters, autocommit=True)


def close_pools() -> None:
    """Close all pooled connections: before a fork, and between tests."""
    with _lock:
        for pool in _pools.values():
            pool.close()
        _pools.clear()


def _pool(alias: str) -> ConnectionPool[Connection]:
    pool = _pools.get(alias)
    if pool is None:
        with _lock:
            pool = _pools.get(alias)
            if pool is None:
                pool = _pools[alias] = ConnectionPool(
                    connection_class=Connection,
                    kwargs=_parameters(alias) | {"autocommit": True},
                    min_size=0,
                    max_size=POOL_SIZE,
                    timeout=TIMEOUT,
                    check=tenancy.tell,
                    open=True,
                )
    return pool


def _parameters(alias: str) -> dict[str, Any]:
    parameters = connections[alias].get_connection_params()
    for only_django in ("context", "cursor_factory", "pool", "server_side_binding"):
        parameters.pop(only_django, None)
    parameters["options"] = f"{parameters.get('options', '')} {SESSION}".strip()
    return parameters | {"prepare_threshold": 0, "application_name": "messaging"}
