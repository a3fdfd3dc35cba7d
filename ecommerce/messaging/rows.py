"""Business rows in sets: one locking SELECT, one UPDATE and one INSERT per model and batch.

The `Workspace` is the batch's identity map. Handlers get the same instance for the same row, and
each sees what earlier ones of the batch changed or added. What was fetched is kept beside each
instance: it tells what changed, and lets the batch start over when a handler raises half-way.

All statements take binary arrays (`%b`) through `unnest`: 4 to 10 times cheaper than text.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import compress
from operator import attrgetter, itemgetter, ne
from typing import Any

import msgspec
from django.db import connections, models
from django.db.models.query_utils import DeferredAttribute

from .arrays import array, unnested
from .errors import NotFound, WiringError
from .models import ReadModel, Row
from .registry import Handler, Load, Rows
from .wire import Answer

Statement = tuple[str, Sequence[Any]]
Key = tuple[Any, ...]
Wanted = list[list[Key]]
"""The keys of the rows that a handler needs, by its parameters."""

_encode_json = msgspec.json.encode
_decode_json = msgspec.json.decode


@dataclass(frozen=True)
class Column:
    """How one model field travels in an array parameter and back."""

    name: str
    attname: str
    array: str
    write: str
    read: str
    json: bool

    def dump(self, value: Any) -> Any:
        return _encode_json(value).decode() if self.json and value is not None else value


class Table:
    """One model's columns and statements."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model
        self.name = f'"{model._meta.db_table}"'
        columns = [_column(field) for field in model._meta.concrete_fields]
        self._plain = [column for column in columns if not column.json]
        self._json = [column for column in columns if column.json]
        self.columns = self._plain + self._json
        self.by_name = {column.name: column for column in self.columns}
        self.values = attrgetter(*(column.attname for column in self.columns))
        self._attnames = [column.attname for column in self._plain]
        self._plain_values = attrgetter(*self._attnames)
        for field in model._meta.concrete_fields:
            if self.by_name[str(field.column)].json:
                setattr(model, field.attname, _Undecoded(field))
        names = [column.name for column in self.columns]
        key = ("tenant", *model.key_columns()) if issubclass(model, Row) else ("id", "id")
        self.key: Callable[[Sequence[Any]], Key] = itemgetter(*map(names.index, key))

    def insert(self, rows: Sequence[models.Model]) -> Statement:
        """The statement that adds all rows, in the given order."""
        return self.insert_values([self.values(row) for row in rows], self.columns)

    def insert_values(self, rows: Sequence[Sequence[Any]], columns: Sequence[Column]) -> Statement:
        """The statement that adds rows given as tuples of these columns' values."""
        names = ", ".join(f'"{column.name}"' for column in columns)
        written = ", ".join(column.write for column in columns)
        sql = f"INSERT INTO {self.name} ({names}) SELECT {written} FROM {_unnested(columns)}"
        return sql, _transposed(rows, columns)

    def update(self, rows: Sequence[models.Model], changed: Sequence[Column]) -> Statement:
        """The statement that writes the changed columns of all rows, found by primary key."""
        columns = [self.by_name["id"], *changed]
        written = ", ".join(f'"{column.name}" = {column.write}' for column in changed)
        sql = f"UPDATE {self.name} t SET {written} FROM {_unnested(columns)} WHERE t.id = u.id"
        get = attrgetter(*(column.attname for column in columns))
        return sql, _transposed([get(row) for row in rows], columns)

    def select(self, keys: Sequence[Key], *, lock: bool) -> Statement:
        """The statement that finds rows by tenant and key, locked in the order of the keys."""
        sql, columns = self._select
        return sql + (" FOR UPDATE OF t" if lock else ""), _transposed(keys, columns)

    @cached_property
    def _select(self) -> tuple[str, list[Column]]:
        assert issubclass(self.model, Row)
        columns = [self.by_name[name] for name in ("tenant", *self.model.key_columns())]
        found = " AND ".join(f't."{column.name}" = u."{column.name}"' for column in columns)
        order = ", ".join(f't."{column.name}"' for column in columns)
        sql = (
            f"SELECT {', '.join(column.read for column in self.columns)} FROM {self.name} t "
            f"JOIN {_unnested(columns)} ON {found} ORDER BY {order}"
        )
        return sql, columns

    def instance(self, values: Sequence[Any]) -> Any:
        """A model instance for one fetched tuple; its JSON is decoded when somebody reads it."""
        row = self.model.__new__(self.model)
        fields = row.__dict__
        fields.update(zip(self._attnames, values, strict=False))
        if self._json:
            texts = values[len(self._plain) :]
            fields["_undecoded"] = {c.attname: t for c, t in zip(self._json, texts, strict=True)}
        state = fields["_state"] = models.base.ModelState()
        state.adding = False
        return row

    def changed(self, row: models.Model, fetched: Sequence[Any]) -> list[Column]:
        """The columns in which a row differs from what was fetched."""
        differing = list(compress(self._plain, map(ne, fetched, self._plain_values(row))))
        if self._json:
            fields = row.__dict__
            for column, before in zip(self._json, fetched[len(self._plain) :], strict=True):
                if column.attname in fields and _json_differs(before, fields[column.attname]):
                    differing.append(column)
        return differing


class _Undecoded(DeferredAttribute):
    """A column of JSON that was fetched as text. Most handlers neither read nor change it."""

    def __get__(self, row: models.Model | None, owner: type[models.Model] | None = None) -> Any:
        name = self.field.attname
        if row is None or name not in row.__dict__.get("_undecoded", ()):
            return super().__get__(row, owner)
        text = row.__dict__["_undecoded"][name]
        value = row.__dict__[name] = None if text is None else _decode_json(text)
        return value


@cache
def table(model: type[models.Model]) -> Table:
    """The (cached) table of a model."""
    return Table(model)


class Workspace:
    """The rows of one batch or command, in memory."""

    def __init__(self) -> None:
        self._wanted: dict[type[Row], set[Key]] = {}
        self._locked: set[type[Row]] = set()
        self._fetched: dict[type[Row], dict[Key, tuple[Any, ...]]] = {}
        self._rows: dict[type[Row], dict[Key, Row]] = {}
        self._added: dict[type[Row], dict[Key, Row]] = {}

    def want(self, handler: Handler, tenant: str, message: Any) -> Wanted:
        """Note which rows a handler will need for a message; return their keys for `arguments`."""
        keys = []
        for load in handler.loads:
            found = _keys(load, tenant, message)
            keys.append(found)
            self._wanted.setdefault(load.model, set()).update(found)
            if load.model not in self._locked and (
                handler.kind == "projects" or not issubclass(load.model, ReadModel)
            ):
                self._locked.add(load.model)
        return keys

    def selects(self) -> list[Statement]:
        """The statements that fetch all wanted rows, models and keys in one fixed order."""
        return [
            table(model).select(sorted(self._wanted[model]), lock=model in self._locked)
            for model in sorted(self._wanted, key=lambda model: model._meta.label)
            if self._wanted[model]
        ]

    def fetched(self, cursors: Iterable[Answer]) -> None:
        """Take the results of `selects`, in the same order."""
        wanted = sorted((m for m in self._wanted if self._wanted[m]), key=lambda m: m._meta.label)
        for model, cursor in zip(wanted, cursors, strict=True):
            key = table(model).key
            self._fetched[model] = {key(values): values for values in cursor.fetchall()}
        self.start_over()

    def start_over(self) -> None:
        """Forget all changes: back to what was fetched. Instances are made when asked for."""
        self._added = {}
        self._rows = {model: {} for model in self._fetched}

    def arguments(self, handler: Handler, keys: Wanted) -> dict[str, Any]:
        """The rows that a handler's signature names. Raises NotFound for a row it cannot miss."""
        return {
            load.parameter: self._argument(load, wanted)
            for load, wanted in zip(handler.loads, keys, strict=True)
        }

    def add(self, row: Row, tenant: str) -> None:
        """Take a new row that a handler returned.

        Raises WiringError for a row of another tenant or with a key that is taken.
        """
        row.tenant = row.tenant or tenant
        if row.tenant != tenant:
            raise WiringError(f"{row} belongs to {row.tenant!r}, the message to {tenant!r}")
        model = type(row)
        key = (tenant, *(getattr(row, name) for name in model.key_columns()))
        if (self._row(model, key) or row) is not row:
            raise WiringError(f"{model.__name__} {key[1:]} exists already")
        self._rows.setdefault(model, {})[key] = row
        if key not in self._fetched.get(model, {}):
            self._added.setdefault(model, {})[key] = row

    def writes(self) -> list[Statement]:
        """The statements that store every change: updates, then inserts sorted by key."""
        statements = []
        for model in sorted(self._rows, key=lambda model: model._meta.label):
            statements += self._updates(model)
            added = self._added.get(model)
            if added:
                statements.append(table(model).insert([added[key] for key in sorted(added)]))
        return statements

    def loaded(self) -> list[Row]:
        """All rows that were fetched."""
        found = [(model, key) for model, fetched in self._fetched.items() for key in fetched]
        return [row for model, key in found if (row := self._row(model, key))]

    def touched(self) -> list[Row]:
        """All rows that a handler was given or added."""
        return [row for rows in self._rows.values() for row in rows.values()]

    def _updates(self, model: type[Row]) -> list[Statement]:
        fetched, made = self._fetched.get(model, {}), table(model)
        rows, columns = [], {}
        for key, row in self._rows[model].items():
            if key in fetched and (changed := made.changed(row, fetched[key])):
                rows.append(row)
                columns.update({column.name: column for column in changed})
        _refuse_moves(model, columns)
        if rows and model not in self._locked:
            raise WiringError(f"a handler changed {model.__name__}, which only projections may")
        return [made.update(rows, list(columns.values()))] if rows else []

    def _argument(self, load: Load, keys: Sequence[Key]) -> Any:
        if load.form == "many":
            single = len(load.model.key_columns()) == 1
            found = {key: self._row(load.model, key) for key in keys}
            return Rows({key[1] if single else key[1:]: row for key, row in found.items() if row})
        (key,) = keys
        row = self._row(load.model, key)
        if row is None and load.form == "one":
            raise NotFound(f"{load.model._meta.verbose_name} {key[1]} does not exist")
        return row

    def _row(self, model: type[Row], key: Key) -> Row | None:
        rows = self._rows.get(model, {})
        row = rows.get(key)
        if row is None and (values := self._fetched.get(model, {}).get(key)):
            row = rows[key] = table(model).instance(values)
        return row


def _refuse_moves(model: type[Row], changed: Container[str]) -> None:
    if "tenant" in changed:
        raise WiringError(f"a handler gave a {model.__name__} to another tenant")


def _keys(load: Load, tenant: str, message: Any) -> list[Key]:
    keys = load.keys(message)
    if load.form != "many":
        return [(tenant, *keys) if isinstance(keys, tuple) else (tenant, keys)]
    return [(tenant, *key) if isinstance(key, tuple) else (tenant, key) for key in keys]


def _json_differs(before: str | None, after: Any) -> bool:
    if before is None or after is None:
        return before is not after
    return bool(_decode_json(before) != after)


def _column(field: models.Field[Any, Any]) -> Column:
    kind = str(field.db_type(connections["default"]))
    name = str(field.column)
    json = kind == "jsonb"
    text = json or kind.startswith(("varchar", "char")) or kind == "text"
    kind = "int" if kind == "smallint" else "bigint" if kind.startswith("bigint") else kind
    return Column(
        name,
        field.attname,
        "text[]" if text else f"{kind}[]",
        f'u."{name}"' + ("::jsonb" if json else ""),
        f't."{name}"' + ("::text" if json else ""),
        json,
    )


def _unnested(columns: Sequence[Column]) -> str:
    return unnested((column.name, column.array) for column in columns)


def _transposed(rows: Sequence[Sequence[Any]], columns: Sequence[Column]) -> list[list[Any]]:
    return [
        array(column.array, map(column.dump, values) if column.json else values)
        for column, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
