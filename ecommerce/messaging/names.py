"""The names of handlers, which stand in rows: no code may lose one, and none appears unnoticed.

A handler that is new where others have run begins now. A projection begins at the beginning, so a
new one is refused until `manage.py rebuild` has brought its read model there.
"""

from __future__ import annotations

from collections.abc import Sequence

from .database import connection
from .errors import WiringError
from .registry import Handler, handlers
from .services import ServiceConfig, services


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
    """Let the database know these handlers."""
    with connection(service.database) as conn:
        conn.execute(
            f"""INSERT INTO "{service.tables.handler._meta.db_table}" (name, kind)
                SELECT * FROM unnest(%b::text[], %b::text[]) ON CONFLICT DO NOTHING""",
            ([handler.name for handler in new], [handler.kind for handler in new]),
        )


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
