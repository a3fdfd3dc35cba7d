"""A worker works for every tenant, so row security must not hide any of their rows from it."""

from __future__ import annotations

from collections.abc import Sequence

from .database import connection
from .errors import WiringError
from .services import ServiceConfig


def check_sees_every_tenant(chosen: Sequence[ServiceConfig]) -> None:
    """Raise WiringError when row security would hide rows from this process: what it does not see
    would never be delivered."""
    for service in chosen:
        table = service.tables.log._meta.db_table
        with connection(service.database) as conn:
            question = "SELECT row_security_active(%b::text), current_user::text"
            hidden, user = conn.execute(question, (f'"{table}"',)).fetchone() or (True, "")
        if hidden:
            raise WiringError(
                f"row security hides rows of {table} from {user}: let a worker connect as the "
                f"tables' owner, or say ALTER ROLE {user} BYPASSRLS"
            )
