"""Rows that can be made again: read models from all events, aggregates from their streams.

`differences` and `fold_differences` only compare; both see one moment and hold nobody up.
`rebuild` also replaces a read model's rows. Rebuilding is done beside the real tables (see
`replay`), which are locked for the last stretch alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from django.apps import apps

from . import names
from .database import Connection, connect
from .messages import decode
from .models import Aggregate, ReadModel, Row
from .registry import Handler, handlers
from .replay import Difference, Replay, Say
from .rows import table
from .services import service, services
from .transactions import rollback

FOLDED = 500
"""Aggregates folded at a time."""
ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ"


@dataclass(frozen=True)
class Result:
    """What a comparison found.

    `missed` deliveries are parked or dead: the table does not contain them, and is not expected to.
    """

    differences: dict[type[ReadModel], list[Difference]]
    events: int
    missed: int


def read_models(label: str | None = None) -> list[type[ReadModel]]:
    """The read models that projections keep, of one service or of all."""
    return [model for model in _rows(ReadModel, label) if _writers({model})]


def aggregates(label: str | None = None) -> list[type[Aggregate]]:
    """The aggregates of one service or of all."""
    return list(_rows(Aggregate, label))


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


def compare(group: Sequence[type[ReadModel]], say: Say = lambda _: None) -> Result:
    """Compare the tables of one group with the events, without holding anybody up.

    Raises RebuildFailed when a projection cannot apply an event.
    """
    with _replay(group) as replay:
        replay.approach(say)
        with _transaction(replay.conn, ONE_MOMENT):
            replay.catch_up()
            return _result(replay)


def rebuild(group: Sequence[type[ReadModel]], say: Say = lambda _: None) -> Result:
    """Make the tables of one group what the events give; return what was different.

    Rows that were right are left alone, and rows keep their ids. Batches that need these tables
    wait for the last stretch, in which nothing but the newest events is read.
    Raises RebuildFailed when a projection cannot apply an event; then nothing has changed.
    """
    with _replay(group) as replay:
        replay.approach(say)
        with _transaction(replay.conn, "BEGIN"):
            replay.lock()
            replay.catch_up()
            result = _result(replay)
            for model, different in result.differences.items():
                if different:
                    replay.replace(model)
        names.record(replay.service, replay.handlers)
        return result


def fold_differences(model: type[Aggregate]) -> list[Difference]:
    """All rows of an aggregate that are not the fold of their streams."""
    with connect(service(model._meta.app_label).database) as conn, _transaction(conn, ONE_MOMENT):
        found: list[Difference] = []
        for rows in _stored(conn, model):
            folded = _fold(conn, model, [(row.tenant, _key(row)) for row in rows])
            for row in rows:
                columns = _between(row, folded[row.tenant, _key(row)])
                if columns:
                    label = model._meta.label
                    found.append(Difference(label, row.tenant, (_key(row),), columns=columns))
        for lost in _without_row(conn, model):
            found += [
                Difference(model._meta.label, tenant, (key,), found=False)
                for (tenant, key), row in _fold(conn, model, lost).items()
                if _key(row) == key
            ]
        return found


@contextmanager
def _replay(group: Sequence[type[ReadModel]]) -> Iterator[Replay]:
    config = service(group[0]._meta.app_label)
    with connect(config.database) as conn:
        yield Replay(conn, config, group, _writers(set(group)))


def _result(replay: Replay) -> Result:
    replay.plan_for_sets()
    found = {model: replay.differences(model) for model in replay.models}
    return Result(found, replay.events, len(replay.missed))


@contextmanager
def _transaction(conn: Connection, begin: str) -> Iterator[None]:
    conn.execute(begin)
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        rollback(conn)
        raise


def _rows(kind: type[Any], label: str | None) -> Iterator[type[Any]]:
    for config in services():
        if label in (None, config.label):
            for model in apps.get_app_config(config.label).get_models():
                if issubclass(model, kind):
                    yield model


def _writers(models: set[type[Any]]) -> list[Handler]:
    label = next(iter(models))._meta.app_label
    return [
        handler
        for handler in handlers(label)
        if handler.kind == "projects" and any(load.model in models for load in handler.loads)
    ]


def _group_of(model: type[ReadModel]) -> list[type[ReadModel]]:
    group: set[type[Any]] = {model}
    while True:
        wider = group | {load.model for handler in _writers(group) for load in handler.loads}
        if wider == group:
            return sorted(group, key=lambda each: each._meta.label)
        group = wider


# Folds


def _key(row: Aggregate) -> str:
    """The key as it stands in the stream's name; empty when no event has set it."""
    (column,) = row.key_columns()
    return str(getattr(row, column) or "")


def _category(model: type[Aggregate]) -> str:
    (column,) = model.key_columns()
    return column.removesuffix("_id")


def _stored(conn: Connection, model: type[Aggregate]) -> Iterator[list[Any]]:
    rows = table(model)
    columns = ", ".join(column.read for column in rows.columns)
    last = None
    while True:
        found = conn.execute(
            f"SELECT {columns} FROM {rows.name} t WHERE %b::uuid IS NULL OR id > %b::uuid "
            "ORDER BY id LIMIT %b::int",
            (last, last, FOLDED),
        ).fetchall()
        if not found:
            return
        batch = [rows.instance(values) for values in found]
        last = batch[-1].id
        yield batch


def _without_row(conn: Connection, model: type[Aggregate]) -> Iterator[list[tuple[str, str]]]:
    """The streams of this model's category that have events and no row, as tenants and keys."""
    (column,) = model.key_columns()
    log = service(model._meta.app_label).tables.log._meta.db_table
    prefix = f"{_category(model)}/"
    found = conn.execute(
        f"""SELECT l.tenant, substr(l.stream, %b::int) FROM "{log}" l
            WHERE l.version = 1 AND starts_with(l.stream, %b::text) AND NOT EXISTS (
                SELECT FROM {table(model).name} t
                WHERE t.tenant = l.tenant AND t."{column}" = substr(l.stream, %b::int))""",
        (len(prefix) + 1, prefix, len(prefix) + 1),
    ).fetchall()
    for start in range(0, len(found), FOLDED):
        yield found[start : start + FOLDED]


def _fold(
    conn: Connection, model: type[Aggregate], wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Aggregate]:
    """What the events of these streams make of an empty row, by tenant and key."""
    log = service(model._meta.app_label).tables.log._meta.db_table
    prefix = f"{_category(model)}/"
    folded = {(tenant, key): model(tenant=tenant) for tenant, key in wanted}
    events = conn.execute(
        f"""SELECT l.tenant, l.stream, l.name, l.contract, l.payload, l.personal
            FROM "{log}" l JOIN unnest(%b::text[], %b::text[]) AS u(tenant, stream)
              ON l.tenant = u.tenant AND l.stream = u.stream
            WHERE l.version IS NOT NULL ORDER BY l.tenant, l.stream, l.version""",
        ([tenant for tenant, _ in wanted], [f"{prefix}{key}" for _, key in wanted]),
    )
    for tenant, stream, name, contract, payload, personal in events:
        row = folded[tenant, stream.removeprefix(prefix)]
        row.apply(decode(name, contract, payload, personal))
    return folded


def _between(found: Row, expected: Row) -> dict[str, tuple[Any, Any]]:
    """The columns in which two rows differ, but for the id; JSON as the table would hold it."""
    pairs = {}
    for column in table(type(found)).columns:
        a, b = (getattr(row, column.attname) for row in (found, expected))
        if column.json:
            b = msgspec.json.decode(msgspec.json.encode(b))
        if column.name != "id" and a != b:
            pairs[column.name] = (a, b)
    return pairs
