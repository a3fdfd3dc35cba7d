"""Lists that are read page by page, newest first, with a cursor that says nothing to clients.

A page starts behind the last row of the one before, by sort key and id, so that rows that come
or go meanwhile neither repeat nor hide others, and page 1000 costs what page 1 does.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet
from pydantic import Field as Limits

from ecommerce.messaging.errors import Invalid

from .schemas import Input, Output

Row = TypeVar("Row", bound=Model)
Item = TypeVar("Item")


class Paging(Input):
    """Where to go on, and how far."""

    cursor: Annotated[
        str | None, Limits(max_length=400, description="`next` of the page before; opaque.")
    ] = None
    limit: Annotated[int, Limits(ge=1, le=100, description="How many items at most.")] = 20


class PageOf(Output, Generic[Item]):
    """One page of a list; `next` is the cursor of the following page, null on the last one."""

    items: list[Item]
    next: str | None = None


@dataclass(frozen=True)
class Page(Generic[Row]):
    """What an operation with `response=PageOf[…]` returns."""

    items: list[Row]
    next: str | None


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    by: str
    value: Any
    id: str


def page(
    queryset: QuerySet[Row], paging: Paging, *, by: str = "created_at", descending: bool = True
) -> Page[Row]:
    """One page of the queryset, sorted by the column `by` (without NULLs) and the id.

    Raises Invalid for a cursor that was not made by this list.
    """
    sign = "-" if descending else ""
    rows = queryset.order_by(f"{sign}{by}", f"{sign}pk")
    if paging.cursor is not None:
        rows = rows.filter(_behind(rows.model, paging.cursor, by, "lt" if descending else "gt"))
    found = list(rows[: paging.limit + 1])
    more = len(found) > paging.limit
    items = found[: paging.limit]
    return Page(items, _cursor_at(items[-1], by) if more else None)


def _cursor_at(row: Model, by: str) -> str:
    text = msgspec.json.encode(_Cursor(by, getattr(row, by), str(row.pk)))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _behind(model: type[Model], cursor: str, by: str, than: str) -> Q:
    value, last = _read(model, cursor, by)
    # The first condition is what an index range scan can use.
    return Q(**{f"{by}__{than}e": value}) & (
        Q(**{f"{by}__{than}": value}) | Q(**{f"pk__{than}": last})
    )


def _read(model: type[Model], cursor: str, by: str) -> tuple[Any, Any]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        read = msgspec.json.decode(text, type=_Cursor)
        if read.by == by and read.value is not None and "\0" not in f"{read.value}{read.id}":
            column, key = model._meta.get_field(by), model._meta.pk
            assert isinstance(column, Field)
            return column.to_python(read.value), key.to_python(read.id)
    except (binascii.Error, ValueError, RecursionError, ValidationError, OverflowError, TypeError):
        pass
    raise Invalid("This is not a cursor of this list.", field="cursor", code="bad-cursor")
