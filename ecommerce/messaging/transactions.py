"""What every transaction of the kernel needs: rows to begin with, and an end when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from .database import Connection
from .errors import Fenced
from .log import Appended, without_gap
from .rows import Statement, Workspace
from .wire import Answer

ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ"
FENCED = "MF001"
"""The SQLSTATE of `messaging_require`."""


def begin(conn: Connection, workspace: Workspace) -> None:
    """Begin a transaction, and fetch and lock all rows that a workspace wants, in one round trip."""
    with conn.pipeline():
        conn.execute("BEGIN")
        cursors = ask(conn, workspace)
    workspace.fetched(cursors)


@contextmanager
def transaction(conn: Connection, begin: str = "BEGIN") -> Iterator[None]:
    """Commit at the end of the block, or roll back when it raises."""
    conn.execute(begin)
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        rollback(conn)
        raise


def load(conn: Connection, workspace: Workspace) -> None:
    """Fetch and lock all rows that a workspace wants, in one round trip."""
    with conn.pipeline():
        cursors = ask(conn, workspace)
    workspace.fetched(cursors)


def ask(conn: Connection, workspace: Workspace) -> list[Answer]:
    """Ask, inside a pipeline, for all rows that a workspace wants: what its `fetched` takes."""
    return [conn.execute(*select) for select in workspace.selects()]


def commit(
    conn: Connection, statements: Sequence[Statement], appends: Sequence[Statement]
) -> list[Appended]:
    """Send statements and COMMIT in one round trip, what appends to logs last; return what that
    appended. Raises Fenced when a fence among them fails."""
    with fenced(), conn.pipeline():
        for statement in statements:
            conn.execute(*statement)
        cursors = [conn.execute(*statement) for statement in appends]
        conn.execute("COMMIT")
    return [
        appended
        for (_, (log, *_)), cursor in zip(appends, cursors, strict=True)
        for appended in without_gap(log, [position for (position,) in cursor.fetchall()])
    ]


@contextmanager
def fenced() -> Iterator[None]:
    """Raise Fenced when the database refuses by `messaging_require`."""
    try:
        yield
    except psycopg.DatabaseError as error:
        if error.sqlstate == FENCED:
            raise Fenced(str(error)) from error
        raise


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
