"""Rebuilds and comparisons that are asked for, watched and called off: a row for each.

    requested → running → done          to compare → comparing → compared
                      ↘ cancelled, failed                    ↘ cancelled, failed

`manage.py rebuild` runs its own. One that is requested, over HTTP, is run by a worker (see
`rebuilder`), not by the web process. Whoever runs one holds an advisory lock of its group of read
models for as long as its connection lives: nobody else runs one of the same group, and a row that
says so without the lock is one whose process died.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from . import projections
from .database import Connection, connect, connection
from .errors import Conflict, MessagingError, describe
from .models import ReadModel, uuid7
from .projections import Result
from .replay import Watch, unwatched
from .services import ServiceConfig, service
from .tables import Rebuild

STATES = {False: ("requested", "running", "done"), True: ("to compare", "comparing", "compared")}
"""For a rebuild, and for a mere comparison."""
WAITING, RUNNING = ["requested", "to compare"], ["running", "comparing"]
DIED = "the process that ran it has ended"


class Busy(MessagingError):
    """Another rebuild of these read models is under way; nothing was done."""


class Cancelled(MessagingError):
    """The rebuild was called off; nothing was changed."""


class Postponed(MessagingError):
    """The worker that runs it stops; another one begins anew."""


def request(group: Sequence[type[ReadModel]], actor: str, *, compare: bool = False) -> Rebuild:
    """Ask the workers for a rebuild. Raises Conflict while there is one of the same group."""
    rebuilds = _table(group)._default_manager
    found = rebuilds.filter(models_named=named(group), state__in=WAITING + RUNNING).first()
    if found is not None:
        raise Conflict(f"{found.models_named} is {found.state}: wait, or cancel it", id=found.id)
    with connection(_service(group).database) as conn:
        rebuild_id = _insert(conn, group, actor, STATES[compare][0])
    return rebuilds.get(pk=rebuild_id)


def cancel(found: Rebuild) -> bool:
    """Call a rebuild off: at once if it waits, else within a batch. False when it is over."""
    config = service(found._meta.app_label)
    with connection(config.database) as conn:
        forget_dead(conn, config)
        return bool(
            conn.execute(
                f"""UPDATE "{found._meta.db_table}" SET cancel_requested = true,
                        updated_at = messaging_now(),
                        state = CASE WHEN state = ANY(%b::text[]) THEN 'cancelled' ELSE state END
                    WHERE id = %b::uuid AND state = ANY(%b::text[])""",
                (WAITING, found.pk, WAITING + RUNNING),
            ).rowcount
        )


def run(
    group: Sequence[type[ReadModel]],
    actor: str,
    *,
    compare: bool = False,
    requested: uuid.UUID | None = None,
    watch: Watch = unwatched,
) -> Result:
    """Rebuild, or compare, under the eyes of whoever looks at its row.

    `requested` is the row of one that was asked for. Raises Busy, Cancelled, and whatever `watch`
    and `projections.rebuild` raise. Whichever it is, the read models are as they were, unless `Held`
    says otherwise.
    """
    act = projections.compare if compare else projections.rebuild
    waiting, running, done = STATES[compare]
    with _alone(group) as conn:
        rebuild_id = requested or _insert(conn, group, actor, running)
        row = _Row(conn, _table(group)._meta.db_table, rebuild_id)
        if requested and not row.become(running, since=waiting):
            raise Cancelled(f"{named(group)}: somebody else has run it, or called it off")
        with row.otherwise(waiting):
            result = act(group, row.watched(watch))
        row.end(done, result)
        return result


def forget_dead(conn: Connection, config: ServiceConfig) -> None:
    """Mark as failed what says that it runs, although nobody holds its lock."""
    rebuilds = config.tables.rebuild._meta.db_table
    for rebuild_id, name in conn.execute(
        f'SELECT id, models_named FROM "{rebuilds}" WHERE state = ANY(%b::text[])', (RUNNING,)
    ).fetchall():
        with conn.transaction():
            if _first(conn, "SELECT pg_try_advisory_xact_lock(%b::bigint)", _key(conn, name)):
                _Row(conn, rebuilds, rebuild_id).become("failed", error=DIED)


def abandon(config: ServiceConfig, rebuild_id: uuid.UUID, why: str) -> None:
    """Give up one that was requested and cannot be run."""
    with connection(config.database) as conn:
        _Row(conn, config.tables.rebuild._meta.db_table, rebuild_id).become("failed", error=why)


def named(group: Sequence[type[ReadModel]]) -> str:
    """A group of read models, as its rows name it."""
    return ", ".join(model._meta.label for model in group)


class _Row:
    """The row of one rebuild, for whoever runs it."""

    def __init__(self, conn: Connection, rebuilds: str, rebuild_id: uuid.UUID) -> None:
        self._conn = conn
        self._rebuilds = rebuilds
        self._id = rebuild_id

    def become(self, state: str, *, error: str = "", since: str | None = None) -> bool:
        """Change its state, if it is still what it was `since`."""
        was = [since] if since else WAITING + RUNNING
        return self._change("state = %b, error = %b", [state, error], was) is not None

    @contextmanager
    def otherwise(self, waiting: str) -> Iterator[None]:
        """Note why it did not come to its end; what cannot be noted is found by `forget_dead`."""
        try:
            yield
        except BaseException as error:
            with suppress(psycopg.Error):
                if isinstance(error, Postponed):
                    self.become(waiting)
                elif isinstance(error, Cancelled | KeyboardInterrupt):
                    self.become("cancelled")
                else:
                    # The rest of it may quote a tenant's event; the row is for operators of any.
                    self.become("failed", error=describe(error).partition("\n")[0])
            raise

    def end(self, state: str, result: Result) -> None:
        """Note what came of it."""
        differences = sum(len(found) for found in result.differences.values())
        note = f"{result.missed} deliveries are parked or dead" if result.missed else ""
        changes = "state = %b, differences = %b::int, events = %b::bigint, error = %b"
        self._change(changes, [state, differences, result.events, note], RUNNING)

    def watched(self, watch: Watch) -> Watch:
        """Note how far it is, and stop when it is called off."""

        def step(events: int, total: int) -> None:
            changes = "events = %b::bigint, total = %b::bigint"
            if self._change(changes, [events, total], RUNNING) is not False:
                raise Cancelled(f"called off after {events} of {total} events")
            watch(events, total)

        return step

    def _change(self, changes: str, values: Sequence[Any], since: Sequence[str]) -> bool | None:
        """Whether it is to be cancelled; None when its state is none of these any more."""
        cancelled: bool | None = _first(
            self._conn,
            f"""UPDATE "{self._rebuilds}" SET {changes}, updated_at = messaging_now()
                WHERE id = %b::uuid AND state = ANY(%b::text[]) RETURNING cancel_requested""",
            *values,
            self._id,
            list(since),
        )
        return cancelled


@contextmanager
def _alone(group: Sequence[type[ReadModel]]) -> Iterator[Connection]:
    """A connection that holds the group's lock. Raises Busy when another one does."""
    config = _service(group)
    with connect(config.database) as conn:
        forget_dead(conn, config)
        key = _key(conn, named(group))
        if not _first(conn, "SELECT pg_try_advisory_lock(%b::bigint)", key):
            raise Busy(f"{named(group)}: another rebuild is under way; wait, or cancel it")
        yield conn


def _insert(
    conn: Connection, group: Sequence[type[ReadModel]], actor: str, state: str
) -> uuid.UUID:
    rebuild_id = uuid7()
    conn.execute(
        f"""INSERT INTO "{_table(group)._meta.db_table}"
                (id, models_named, state, actor, events, total, error, cancel_requested,
                 started_at, updated_at)
            VALUES (%b::uuid, %b, %b, %b, 0, 0, '', false, messaging_now(), messaging_now())""",
        (rebuild_id, named(group), state, actor),
    )
    return rebuild_id


def _key(conn: Connection, name: str) -> int:
    key: int = _first(conn, "SELECT hashtextextended(%b::text, 0)", f"rebuild of {name}")
    return key


def _first(conn: Connection, query: str, *values: Any) -> Any:
    row = conn.execute(query, values).fetchone()
    return row[0] if row else None


def _service(group: Sequence[type[ReadModel]]) -> ServiceConfig:
    return service(group[0]._meta.app_label)


def _table(group: Sequence[type[ReadModel]]) -> type[Rebuild]:
    return _service(group).tables.rebuild
