"""Aggregates of all services as they were, for operators, each in their own tenant.

Personal data is shown to callers who may also read customers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from ninja import Query
from pydantic import Field

from ecommerce.messaging.errors import NotFound
from ecommerce.messaging.folds import Moment, Past, as_of, changes
from ecommerce.messaging.models import Aggregate
from ecommerce.messaging.projections import aggregates
from ecommerce.messaging.rows import table

from .access import ApiRequest, allow
from .dead_letter_schemas import may_see
from .routing import Router
from .schemas import Between, Input, MomentIn, Output

router = Router(tags=["operations"])
operators = allow("operations")


class At(Input):
    """When."""

    as_of: Annotated[MomentIn | None, Field(description="Now when not given.")] = None


class AggregateOut(Output):
    """An aggregate after one of its events; its columns have the names of the table."""

    aggregate: str
    key: str
    version: int
    recorded_at: datetime
    state: dict[str, Any]


class ColumnChangeOut(Output):
    """A column that two moments differ in."""

    column: str
    before: Any
    after: Any


class AggregateDiffOut(Output):
    """What is different about an aggregate after one of its events than after another."""

    aggregate: str
    key: str
    from_version: int
    to_version: int
    changes: list[ColumnChangeOut]


@router.get("/operations/aggregates/{service}/{model}/{key}", auth=operators, response=AggregateOut)
def aggregate_as_of(
    request: ApiRequest, service: str, model: str, key: str, at: Query[At]
) -> AggregateOut:
    """An aggregate of any service at a version or an instant: what its events had made of it."""
    found = _find(request, service, model, key, at.as_of)
    columns = [column for column in table(type(found.row)).columns if column.name != "id"]
    return AggregateOut(
        aggregate=f"{service}.{model}",
        key=key,
        version=found.version,
        recorded_at=found.recorded_at,
        state={column.name: getattr(found.row, column.attname) for column in columns},
    )


@router.get(
    "/operations/aggregates/{service}/{model}/{key}/diff",
    auth=operators,
    response=AggregateDiffOut,
)
def aggregate_diff(
    request: ApiRequest, service: str, model: str, key: str, between: Query[Between]
) -> AggregateDiffOut:
    """What has changed about an aggregate between two versions or instants."""
    before = _find(request, service, model, key, between.begin)
    after = _find(request, service, model, key, between.to)
    return AggregateDiffOut(
        aggregate=f"{service}.{model}",
        key=key,
        from_version=before.version,
        to_version=after.version,
        changes=[
            ColumnChangeOut(column=column, before=a, after=b)
            for column, (a, b) in changes(before.row, after.row).items()
        ],
    )


def _find(
    request: ApiRequest, service: str, model: str, key: str, moment: Moment | None
) -> Past[Aggregate]:
    """Raises NotFound for what is no aggregate, and for what did not exist then."""
    known = {each._meta.label: each for each in aggregates()}
    label = f"{service}.{model}"
    if label not in known:
        raise NotFound(f"there is no aggregate {label!r}: there are {', '.join(sorted(known))}")
    caller = request.auth
    past = as_of(known[label], caller.tenant, key, moment, personal=may_see(caller))
    if past is None:
        raise NotFound(f"there was no {label} {key!r} then")
    return past
