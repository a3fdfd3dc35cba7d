"""Rebuilds over HTTP: ask for one, see how far it is, call it off. Workers run them.

They concern the rows of all tenants, and show none of them.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Status

from ecommerce.messaging import rebuilds
from ecommerce.messaging.errors import Conflict, Invalid, NotFound
from ecommerce.messaging.projections import groups, read_models
from ecommerce.messaging.searching import as_uuid
from ecommerce.messaging.services import services
from ecommerce.messaging.tables import Rebuild

from .access import ApiRequest, allow
from .paging import Page, PageOf, Paging
from .routing import Router
from .schemas import Input, Output

router = Router(tags=["operations"])


class NewRebuild(Input):
    """A read model to be made again, with all that share a projection with it.

    With `compare`, rows that differ are counted and left as they are.
    """

    read_model: str
    compare: bool = False


class RebuildOut(Output):
    """A rebuild: `events` of about `total` are read; `differences` are known at its end."""

    id: uuid.UUID
    read_models: list[str]
    state: str
    actor: str
    events: int
    total: int
    differences: int | None
    error: str
    started_at: datetime
    updated_at: datetime


@router.post("/operations/rebuilds", auth=allow("operations"), response={202: RebuildOut})
def request_rebuild(
    request: ApiRequest, response: HttpResponse, wanted: NewRebuild
) -> Status[dict[str, Any]]:
    """Ask for a read model to be made again from all events.

    A worker begins within seconds, while everything goes on. 409 while there is one of the same
    read models.
    """
    found = next((m for m in read_models() if m._meta.label == wanted.read_model), None)
    if found is None:
        raise Invalid(f"there is no read model {wanted.read_model!r}", field="readModel")
    (group,) = groups([found])
    row = rebuilds.request(group, request.auth.actor, compare=wanted.compare)
    response["Location"] = f"/api/operations/rebuilds/{row.id}"
    return Status(202, _shown(row))


@router.get("/operations/rebuilds", auth=allow("operations"), response=PageOf[RebuildOut])
def list_rebuilds(request: HttpRequest, paging: Query[Paging]) -> Page[Any]:  # noqa: ARG001
    """Rebuilds of all services, newest first."""
    before = as_uuid(paging.cursor) if paging.cursor else None
    if paging.cursor and before is None:
        raise Invalid("This is not a cursor of this list.", field="cursor", code="bad-cursor")
    found: list[Rebuild] = []
    for service in services():
        rows = service.tables.rebuild._default_manager.order_by("-id")
        found += (rows.filter(id__lt=before) if before else rows)[: paging.limit + 1]
    # Their ids begin with their time.
    found.sort(key=lambda row: row.id, reverse=True)
    items = found[: paging.limit]
    more = len(found) > paging.limit
    return Page([_shown(row) for row in items], str(items[-1].id) if more else None)


@router.get("/operations/rebuilds/{rebuild_id}", auth=allow("operations"), response=RebuildOut)
def show_rebuild(request: HttpRequest, rebuild_id: str) -> dict[str, Any]:  # noqa: ARG001
    """How far a rebuild is, or what it found."""
    return _shown(_find(rebuild_id))


@router.post(
    "/operations/rebuilds/{rebuild_id}/cancel", auth=allow("operations"), response=RebuildOut
)
def cancel_rebuild(request: HttpRequest, rebuild_id: str) -> dict[str, Any]:  # noqa: ARG001
    """Call a rebuild off. One that runs stops within a batch, and nothing has changed."""
    row = _find(rebuild_id)
    cancelled = rebuilds.cancel(row)
    row.refresh_from_db()
    if not cancelled:
        raise Conflict(f"the rebuild is {row.state}: there is nothing to cancel")
    return _shown(row)


def _find(rebuild_id: str) -> Rebuild:
    if wanted := as_uuid(rebuild_id):
        for service in services():
            if row := service.tables.rebuild._default_manager.filter(pk=wanted).first():
                return row
    raise NotFound(f"there is no rebuild {rebuild_id!r}")


def _shown(row: Rebuild) -> dict[str, Any]:
    names = [field for field in RebuildOut.model_fields if field != "read_models"]
    shown: dict[str, Any] = {name: getattr(row, name) for name in names}
    return shown | {"read_models": row.models_named.split(", ")}
