"""The bases of the services' business rows. Their messaging tables are in `tables`."""

from __future__ import annotations

import uuid
from typing import ClassVar, TypeVar

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

    @classmethod
    def key_columns(cls) -> tuple[str, ...]:
        """The key's columns, also when there is only one."""
        return (cls.key,) if isinstance(cls.key, str) else cls.key


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
