"""An order's past: what each of its events made of the order, its stock, its money and its parcel.

All events of the order's stream are read once, with one statement for each service that has an
aggregate of orders, and folded in memory: to the moment asked for, to the one before it, and to now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import BigIntegerField

from ecommerce.messaging.events import Event, merged, read_stream
from ecommerce.messaging.folds import changes
from ecommerce.messaging.messages import Message, decode
from ecommerce.messaging.models import Aggregate
from ecommerce.messaging.projections import aggregates
from ecommerce.messaging.rows import table
from ecommerce.web.tags import money

CATEGORY = "order"
HIDDEN = {"id", "tenant", "order_id"}


@dataclass(frozen=True)
class Moment:
    """An event of the order, counted from 1 over all services."""

    number: int
    service: str
    event: str
    at: datetime
    actor: str
    version: int
    message: Message

    @property
    def fields(self) -> dict[str, Any]:
        """What the event says, but for the order's id."""
        said: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.message))
        return {name: value for name, value in said.items() if name != "order_id"}


@dataclass(frozen=True)
class Column:
    """A column at a moment; `before` and `now` are what else it was and is."""

    name: str
    then: str
    before: str
    now: str

    @property
    def is_new(self) -> bool:
        return self.then != self.before

    @property
    def has_changed_since(self) -> bool:
        return self.then != self.now


@dataclass(frozen=True)
class Side:
    """An aggregate at a moment."""

    name: str
    service: str
    exists: bool
    status: str
    now: str
    columns: list[Column]


def moments(tenant: str, order_id: str, *, personal: bool) -> list[Moment]:
    """All events of an order, in the order in which they were recorded. Without `personal` it is as
    if its customer had been forgotten."""
    logs = [list(read_stream(label, tenant, f"{CATEGORY}/{order_id}")) for label in _services()]
    return [
        Moment(
            number,
            event.source,
            event.name.partition(".")[2],
            event.recorded_at,
            event.actor,
            event.version,
            _said(event, personal=personal),
        )
        for number, event in enumerate(merged(logs), start=1)
    ]


def sides(tenant: str, found: Sequence[Moment], number: int) -> list[Side]:
    """Each aggregate of the order after so many of its events."""
    return [
        _side(*(_fold(model, tenant, found[:upto]) for upto in (number - 1, number, len(found))))
        for model in _aggregates()
    ]


def _side(before: Aggregate, then: Aggregate, now: Aggregate) -> Side:
    new, later = changes(before, then), changes(then, now)
    columns = []
    for column in table(type(then)).columns:
        said = [_shown(row, column.attname) for row in (then, before, now)]
        if column.name not in HIDDEN and (any(said) or column.name in new | later):
            columns.append(Column(column.name.replace("_", " "), *said))
    return Side(
        type(then).__name__,
        then._meta.app_label,
        _exists(then),
        _status(then),
        _status(now),
        columns if _exists(then) else [],
    )


def _fold(model: type[Aggregate], tenant: str, found: Sequence[Moment]) -> Aggregate:
    row = model(tenant=tenant)
    for moment in found:
        if moment.service == model._meta.app_label:
            row.apply(moment.message)
    return row


def _exists(row: Any) -> bool:
    """Whether an event has made it."""
    return bool(row.order_id)


def _status(row: Any) -> str:
    return str(row.status) if _exists(row) else ""


def _shown(row: Aggregate, name: str) -> str:
    """A column as people read it."""
    value = getattr(row, name)
    if value in (None, "") or not _exists(row):
        return ""
    currency = getattr(row, "currency", "")
    if currency and isinstance(row._meta.get_field(name), BigIntegerField):
        return money(value, currency)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | dict | tuple):
        return _plain(msgspec.json.decode(msgspec.json.encode(value)))
    return str(value)


def _plain(value: Any) -> str:
    """What JSON holds, a line for each thing of a list."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items() if each != "")
    if isinstance(value, list):
        return "\n".join(_plain(each) for each in value)
    return str(value)


def _said(event: Event, *, personal: bool) -> Message:
    return decode(event.name, event.contract, event.payload, event.personal if personal else None)


def _aggregates() -> list[type[Aggregate]]:
    return [model for model in aggregates() if model.category() == CATEGORY]


def _services() -> list[str]:
    return list(dict.fromkeys(model._meta.app_label for model in _aggregates()))
