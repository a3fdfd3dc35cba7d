"""What every transaction of the kernel needs: rows to begin with, and an end when it fails."""

from __future__ import annotations

import psycopg

from .database import Connection
from .rows import Workspace


def load(conn: Connection, workspace: Workspace) -> None:
    """Fetch and lock all rows that a workspace wants, in one round trip."""
    with conn.pipeline():
        cursors = [conn.execute(*select, binary=True) for select in workspace.selects()]
    workspace.fetched(cursors)


def rollback(conn: Connection) -> None:
    """End a failed transaction, if the connection still lives."""
    if not conn.closed:
        try:
            conn.execute("ROLLBACK")
        except psycopg.OperationalError:
            conn.close()


def lost(error: BaseException, conn: Connection) -> bool:
    """Whether an error is the infrastructure's, which costs no delivery an attempt: the connection
    is gone, a lock did not come, the server stops. Not that a statement was refused."""
    outside = (psycopg.OperationalError, psycopg.InterfaceError)
    return conn.closed or isinstance(error, outside)
