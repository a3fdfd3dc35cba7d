"""The bases of the services' business rows. Their messaging tables are in `tables`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, TypeVar

import uuid_utils.compat
from django.db import models

from .messages import Message

E = TypeVar("E", bound=Message)


def uuid7() -> uuid.UUID:
    """A time-ordered UUID: keys made from it are appended at the end of their index."""
    return uuid_utils.compat.uuid7()


class Row(models.Model):
    """A business row. `key` names the column, or columns, that find it within its tenant."""

    key: ClassVar[str | tuple[str, ...]]

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.CharField(max_length=40, editable=False)

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **values: Any) -> None:
        """As any model's, but that a new row of plain columns takes a third of the time: it needs
        neither signals nor relations."""
        plain, made = _defaults(type(self))
        if args or not values.keys() <= plain.keys():
            super().__init__(*args, **values)
            return
        columns = self.__dict__
        columns["_state"] = models.base.ModelState()
        columns.update(plain)
        columns.update(values)
        for name, default in made:
            if name not in values:
                columns[name] = default()

    @classmethod
    def key_columns(cls) -> tuple[str, ...]:
        """The key's columns, also when there is only one."""
        return (cls.key,) if isinstance(cls.key, str) else cls.key


@cache
def _defaults(model: type[Row]) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """What the columns of a new row hold, and what must be made anew for each row."""
    fields = model._meta.concrete_fields
    made = [(f.attname, f.default) for f in fields if f.has_default() and callable(f.default)]
    return {f.attname: f.get_default() for f in fields}, made


class Aggregate(Row):
    """A row that decides. It changes only by `apply`, so that it equals the fold of its stream."""

    class Meta(Row.Meta):
        abstract = True

    @classmethod
    def category(cls) -> str:
        """What its streams are called, before the key: `order` of `order/0192…`."""
        (column,) = cls.key_columns()
        return column.removesuffix("_id")

    def apply(self, event: Message) -> None:
        """Change this row by one event of its stream; events that do not concern it leave it."""
        raise NotImplementedError

    def record(self, event: E) -> E:
        """Apply a new event and hand it back, for the handler to return."""
        self.apply(event)
        return event


class ReadModel(Row):
    """A row that a projection keeps; handlers may read it and never change it."""

    class Meta(Row.Meta):
        abstract = True
