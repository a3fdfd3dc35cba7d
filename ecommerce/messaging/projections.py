"""Read models can be made again from all events. Aggregates are the fold of their streams: `folds`.

`differences` only compares; it sees one moment and holds nobody up. `rebuild` also replaces rows.
Rebuilding is done beside the real tables (see `replay`), which are locked for the last stretch alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.apps import apps

from . import names
from .database import connect
from .errors import MessagingError
from .models import Aggregate, ReadModel
from .registry import Handler, handlers
from .replay import Difference, Replay, Watch, unwatched
from .services import service, services
from .transactions import ONE_MOMENT, transaction


@dataclass(frozen=True)
class Result:
    """What a comparison found.

    `missed` deliveries are parked or dead: the table does not contain them, and is not expected to.
    """

    differences: dict[type[ReadModel], list[Difference]]
    events: int
    missed: int


class Held(MessagingError):
    """Another session holds tables that are needed, for longer than the kernel waits for a lock."""


def read_models(label: str | None = None) -> list[type[ReadModel]]:
    """The read models that projections keep, of one service or of all."""
    return [model for model in _rows(ReadModel, label) if writers({model})]


def aggregates(label: str | None = None) -> list[type[Aggregate]]:
    """The aggregates of one service or of all."""
    return list(_rows(Aggregate, label))


def writers(models: Collection[type[Any]]) -> list[Handler]:
    """The projections that keep any of these read models, which are of one service."""
    label = next(iter(models))._meta.app_label
    return [
        handler
        for handler in handlers(label)
        if handler.kind == "projects" and any(load.model in models for load in handler.loads)
    ]


def groups(models: Iterable[type[ReadModel]]) -> list[list[type[ReadModel]]]:
    """These models, with all that share a projection with them: a group is rebuilt together."""
    found: dict[type[ReadModel], list[type[ReadModel]]] = {}
    for model in models:
        if model not in found:
            group = _group_of(model)
            found.update(dict.fromkeys(group, group))
    return list({id(group): group for group in found.values()}.values())


def differences(*models: type[ReadModel]) -> list[Difference]:
    """All rows of these read models, or of every one, that are not what the events give.

    Raises RebuildFailed when a projection cannot apply an event.
    """
    wanted = models or tuple(read_models())
    found: list[Difference] = []
    for group in groups(wanted):
        result = compare(group)
        found += [each for model in group if model in wanted for each in result.differences[model]]
    return found


def compare(group: Sequence[type[ReadModel]], watch: Watch = unwatched) -> Result:
    """Compare the tables of one group with the events, without holding anybody up.

    Raises RebuildFailed when a projection cannot apply an event, and Held.
    """
    with _replay(group) as replay:
        replay.approach(watch)
        with transaction(replay.conn, ONE_MOMENT):
            replay.catch_up(watch)
            return _result(replay)


def rebuild(group: Sequence[type[ReadModel]], watch: Watch = unwatched) -> Result:
    """Make the tables of one group what the events give; return what was different.

    Rows that were right are left alone, and rows keep their ids. Batches that need these tables
    wait for the last stretch, in which nothing but the newest events is read.
    Raises RebuildFailed when a projection cannot apply an event, and Held; then no row has changed.
    """
    with _replay(group) as replay:
        replay.approach(watch)
        with transaction(replay.conn):
            replay.lock()
            replay.catch_up(watch)
            result = _result(replay)
            for model, different in result.differences.items():
                if different:
                    replay.replace(model)
    partitions = replay.service.tables.partition._meta.db_table
    with _patient(partitions, "the rows are made, but new projections are not entered"):
        names.record(replay.service, replay.handlers)
    return result


@contextmanager
def _replay(group: Sequence[type[ReadModel]]) -> Iterator[Replay]:
    config = service(group[0]._meta.app_label)
    tables = ", ".join(model._meta.db_table for model in group)
    with _patient(tables, "nothing was changed"), connect(config.database) as conn:
        yield Replay(conn, config, group, writers(set(group)))


@contextmanager
def _patient(tables: str, outcome: str) -> Iterator[None]:
    """Raise Held, with what has come of it, when a lock does not come in time."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise Held(
            f"another session holds {tables} for longer than a lock is waited for; {outcome}: "
            "wait for that session, or end it (see pg_locks), and ask again"
        ) from error


def _result(replay: Replay) -> Result:
    replay.plan_for_sets()
    found = {model: replay.differences(model) for model in replay.models}
    return Result(found, replay.events, len(replay.missed))


def _rows(kind: type[Any], label: str | None) -> Iterator[type[Any]]:
    for config in services():
        if label in (None, config.label):
            for model in apps.get_app_config(config.label).get_models():
                if issubclass(model, kind):
                    yield model


def _group_of(model: type[ReadModel]) -> list[type[ReadModel]]:
    group: set[type[Any]] = {model}
    while True:
        wider = group | {load.model for handler in writers(group) for load in handler.loads}
        if wider == group:
            return sorted(group, key=lambda each: each._meta.label)
        group = wider
