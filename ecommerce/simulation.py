"""Troubles of simulated providers: what somebody has them do wrong, for a while.

A simulated adapter asks its `Provider` at each call. Troubles are rows beside its books, so that all
processes share them, and end by the database's clock. Nobody looks in production.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from django.conf import settings
from django.db import models, router

from ecommerce.messaging.database import Connection, connection

KEPT_SECONDS = 0.5
"""For how long a process believes what it read."""
UNFLUSHED = "(SELECT set_config('synchronous_commit', 'off', true) OFFSET 0) AS unflushed"
"""Stands in the FROM of a statement that writes a provider's books, so that its commit does not wait
for the disk. Nothing that relies on it can outlive it: the server's log is written in order, and whoever
commits the answer has all before it flushed. What a crash takes, nobody has used; they ask again."""
LOOK = """
    SELECT kind, until, calls, seconds FROM "{table}"
    WHERE until > messaging_now() AND coalesce(calls, 1) > 0 ORDER BY kind"""
BEGIN = """
    INSERT INTO "{table}" (kind, until, calls, seconds)
    VALUES (%b::text, messaging_now() + make_interval(secs => %b::float8), %b::int, %b::float8)
    ON CONFLICT (kind) DO UPDATE
    SET until = excluded.until, calls = excluded.calls, seconds = excluded.seconds"""
END = 'DELETE FROM "{table}" WHERE kind = %b::text'
TAKE = """
    UPDATE "{table}" SET calls = calls - 1
    WHERE kind = %b::text AND until > messaging_now() AND calls > 0 RETURNING calls"""


class Trouble(models.Model):
    """One kind of trouble: until when, of how many calls if not of all, and what each then takes."""

    kind = models.CharField(max_length=20, primary_key=True)
    until = models.DateTimeField()
    calls = models.IntegerField(null=True)
    seconds = models.FloatField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class Planned:
    """A trouble that is under way."""

    kind: str
    until: datetime
    calls: int | None
    seconds: float


@dataclass(eq=False)
class Provider:
    """A simulated provider, and the kinds of trouble that it can have, each told in a few words."""

    name: str
    title: str
    model: type[Trouble]
    kinds: Mapping[str, str]
    _known: dict[str, Planned] = field(default_factory=dict)
    _looked: float = float("-inf")

    def __post_init__(self) -> None:
        _providers[self.name] = self

    def begin(
        self, kind: str, seconds: float, *, calls: int | None = None, delay: float = 0
    ) -> None:
        """Have this trouble from now on, in place of what there is of its kind."""
        with self._books() as books:
            books.execute(self._sql(BEGIN), (kind, seconds, calls, delay))
        self.forget()

    def end(self, kind: str) -> None:
        """Have this trouble no more."""
        with self._books() as books:
            books.execute(self._sql(END), (kind,))
        self.forget()

    def troubles(self) -> list[Planned]:
        """What is under way."""
        with self._books() as books:
            return [Planned(*row) for row in books.execute(self._sql(LOOK)).fetchall()]

    def befalls(self, kind: str) -> bool:
        """Whether the call that asks meets with this trouble; one that is counted is used up."""
        planned = self._now().get(kind)
        if planned is None or planned.calls is None:
            return planned is not None
        with self._books() as books:
            return books.execute(self._sql(TAKE), (kind,)).fetchone() is not None

    def hold_up(self, kind: str) -> None:
        """Take as long as this trouble says, if there is any."""
        planned = self._now().get(kind)
        if planned is not None:
            time.sleep(planned.seconds)

    def forget(self) -> None:
        """Look again at the next call."""
        self._looked = float("-inf")

    def _now(self) -> dict[str, Planned]:
        if settings.PRODUCTION:
            return {}
        if time.monotonic() - self._looked > KEPT_SECONDS:
            try:
                self._known = {each.kind: each for each in self.troubles()}
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self._known = {}  # whoever asks is about to find that out
            self._looked = time.monotonic()
        return self._known

    @contextmanager
    def _books(self) -> Iterator[Connection]:
        with connection(router.db_for_write(self.model)) as books:
            yield books

    def _sql(self, statement: str) -> str:
        return statement.format(table=self.model._meta.db_table)


_providers: dict[str, Provider] = {}


def providers() -> list[Provider]:
    """All simulated providers."""
    return list(_providers.values())
