"""Read models as they were at an instant: events up to there, replayed beside the real tables.

It takes as long as reading all events until then, and holds nobody up. What is parked or dead now is
left out, as in the tables themselves, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from . import searching
from .database import Connection, connect
from .delivery import Delivery
from .log import Stored
from .models import ReadModel
from .projections import groups, writers
from .replay import Bounds, Missed, Replay
from .rows import table
from .services import service


@dataclass(frozen=True)
class Seen:
    """A tenant's rows of a read model at an instant, by key; `missed` deliveries are not in them."""

    rows: dict[str, Any]
    missed: int


def read_model_as_of(
    model: type[ReadModel],
    tenant: str,
    instant: datetime,
    key: str | None = None,
    *,
    personal: bool = True,
) -> Seen:
    """A tenant's rows of a read model as they were, or the one with this key, such as `mouse` or
    `2026-03-01/USD`. Without `personal` it is as if everybody had been forgotten.

    Raises RebuildFailed when a projection cannot apply an event.
    """
    (group,) = groups([model])
    with connect(service(model._meta.app_label).database) as conn:
        replay = Past(conn, group, tenant, instant, personal=personal)
        replay.catch_up()
        return Seen(_rows(conn, model, key), len(replay.missed))


class Past(Replay):
    """A replay of what one tenant's events had given at an instant."""

    def __init__(
        self,
        conn: Connection,
        group: Sequence[type[ReadModel]],
        tenant: str,
        until: datetime,
        *,
        personal: bool,
    ) -> None:
        super().__init__(conn, service(group[0]._meta.app_label), group, writers(group))
        self.tenant, self.until, self.personal = tenant, until, personal

    def _state(self) -> tuple[Bounds, Missed]:
        bounds, missed = super()._state()
        ends = {source: self._end(source) for source in bounds}
        return {s: [min(p, ends[s]) for p in found] for s, found in bounds.items()}, missed

    def _end(self, source: str) -> int:
        """A position after everything that was recorded by then."""
        inbox = source == "inbox"
        tables = self.service.tables if inbox else service(source).tables
        log = tables.inbox if inbox else tables.log
        return searching.position_before(log, self.until + searching.SLACK) + searching.NEAR

    def _deliveries(self, messages: Iterable[Stored], missed: Missed) -> Iterator[Delivery]:
        return super()._deliveries(filter(self._concerned, map(self._shown, messages)), missed)

    def _concerned(self, message: Stored) -> bool:
        return message.tenant == self.tenant and message.recorded_at <= self.until

    def _shown(self, message: Stored) -> Stored:
        return message if self.personal else msgspec.structs.replace(message, personal=None)


def _rows(conn: Connection, model: type[ReadModel], key: str | None) -> dict[str, Any]:
    made = table(model)
    named = ", ".join(f't."{name}"::text' for name in model.key_columns())
    rows = conn.execute(
        f"""SELECT concat_ws('/', {named}), {", ".join(column.read for column in made.columns)}
            FROM {made.name} t WHERE %b::text IS NULL OR concat_ws('/', {named}) = %b::text
            ORDER BY {named}""",
        (key, key),
    ).fetchall()
    return {found: made.instance(values) for found, *values in rows}
