"""The names of handlers, which stand in rows: no code may lose one, and none appears unnoticed.

A handler that is new where others have run begins now. A projection begins at the beginning, so a
new one is refused until `manage.py rebuild` has brought its read model there.

Workers that began before may lack it, and would read past its messages. So the transaction that
stores a new name takes all partitions away from whoever holds them: what they have under way is
fenced. Those that lack a name hold nothing from then on (`lacking`), copy nothing from other
databases, and leave its calls to others (`carried_out_here`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .claims import Claim
from .database import Connection, connection
from .errors import WiringError
from .registry import Handler, handlers
from .services import ServiceConfig, services
from .tables import ServiceTables

LEAVE_SECONDS = 1.0
"""How long a call that this code does not know is left to others before it is due again."""


def check_names(service: ServiceConfig) -> None:
    """Compare a service's handlers with the names its database knows, and add the new ones.

    Raises WiringError for a name without code, and for a projection that has not been rebuilt.
    """
    names = service.tables.handler._base_manager.using(service.database)
    stored = set(names.values_list("name", flat=True))
    found = {handler.name: handler for handler in handlers(service.label)}
    if lost := sorted(stored - set(found)):
        raise WiringError(
            f"the code has no handler named {', '.join(lost)}: restore it, or say "
            f"`manage.py handlers --retire {lost[0]}`"
        )
    new = [handler for name, handler in found.items() if name not in stored]
    if stored and (projections := [h for h in new if h.kind == "projects"]):
        model = projections[0].loads[0].model._meta.label
        raise WiringError(
            f"the projection {projections[0].name} is new and has not seen what happened before: "
            f"run `manage.py rebuild {model}`"
        )
    if new:
        record(service, new)


def record(service: ServiceConfig, new: Sequence[Handler]) -> None:
    """Let the database know these handlers, and those workers no more that may lack them."""
    tables = service.tables
    with connection(service.database) as conn, conn.transaction():
        added = conn.execute(
            f"""INSERT INTO "{tables.handler._meta.db_table}" (name, kind)
                SELECT * FROM unnest(%b::text[], %b::text[]) ON CONFLICT DO NOTHING RETURNING 1""",
            ([handler.name for handler in new], [handler.kind for handler in new]),
        ).fetchall()
        if added:
            _take_away(conn, tables)


def _take_away(conn: Connection, tables: ServiceTables) -> None:
    """End all leases, once the batches and copies that are being committed are through."""
    partitions = tables.partition._meta.db_table
    conn.execute(f'SELECT FROM "{tables.relay._meta.db_table}" ORDER BY source FOR UPDATE')
    conn.execute(
        f"""UPDATE "{partitions}" SET token = token + 1, owner = NULL, expires_at = NULL
            WHERE number IN (SELECT number FROM "{partitions}" ORDER BY number FOR UPDATE)"""
    )


def lacking(
    conn: Connection, services: Sequence[tuple[ServiceTables, Sequence[str]]]
) -> list[list[str]]:
    """Of each service, the handlers that have run here and are not among the known ones."""
    questions = ", ".join(
        f"""ARRAY(SELECT name::text FROM "{tables.handler._meta.db_table}"
                  WHERE name <> ALL(%b::text[]) ORDER BY name)"""
        for tables, _ in services
    )
    answers = conn.execute(f"SELECT {questions}", [list(known) for _, known in services])
    return list(answers.fetchone() or ())


def carried_out_here(conn: Connection, tables: ServiceTables, claims: list[Claim]) -> list[Claim]:
    """These claims, without the calls that other code knows and this does not: they are given back.

    A call that nobody knows stays; it ends as a dead letter.
    """
    unknown = [claim for claim in claims if not claim.delivery.handler.message_types]
    if not unknown:
        return claims
    rows = conn.execute(
        f"""UPDATE "{tables.effect._meta.db_table}" e
            SET token = NULL, claims = e.claims - 1,
                due_at = messaging_now() + make_interval(secs => %b::float8)
            FROM unnest(%b::uuid[], %b::uuid[]) AS u(id, token)
            WHERE e.id = u.id AND e.token = u.token
              AND e.handler IN (SELECT name FROM "{tables.handler._meta.db_table}")
            RETURNING e.id""",
        (LEAVE_SECONDS, [claim.id for claim in unknown], [claim.token for claim in unknown]),
    ).fetchall()
    given_back = {effect for (effect,) in rows}
    return [claim for claim in claims if claim.id not in given_back]


def retire(name: str) -> None:
    """Forget a handler that the code no longer has.

    Raises WiringError when the code still has it, when nobody knows it, or when deliveries or
    effects are still waiting for it.
    """
    service = next((s for s in services() if s.label == name.partition(".")[0]), None)
    if service is None or any(handler.name == name for handler in handlers()):
        raise WiringError(f"{name} is not a handler that has been removed")
    for table in (service.tables.parked, service.tables.effect):
        waiting = table._base_manager.using(service.database).filter(handler=name).count()
        if waiting:
            raise WiringError(f"{waiting} rows of {table._meta.db_table} still wait for {name}")
    deleted, _ = (
        service.tables.handler._base_manager.using(service.database).filter(name=name).delete()
    )
    if not deleted:
        raise WiringError(f"no handler named {name} has run here")
