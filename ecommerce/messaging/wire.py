"""Statements on their way to the database: prepared, binary, as many as wanted in one round trip.

psycopg finds out anew for each statement how to send its parameters, and makes a cursor for it: four
times the CPU of what libpq needs, for statements that are the same all day. Here the text says it
all. Placeholders are `%b`, whose type the server finds out, or `%b::bigint`; for a list the type must
be named. `%(key)b` takes its value from a mapping, wherever it stands. Whatever else psycopg does, it
still does: `transaction()`, notifications, COPY, and queries with `%s` in them.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import abc
from psycopg.abc import QueryNoTemplate
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGresult

from .arrays import ELEMENTS, Array, packed

MOST_PLANS = 1000
"""Statements that stay prepared on a connection: more than a worker has for all services."""

BINARY, TEXT = int(Format.BINARY), int(Format.TEXT)
CHUNK = 12
"""A part of the rows: after a cursor's `stream`, libpq goes on so for one more statement."""
FINE = {
    ExecStatus.TUPLES_OK,
    ExecStatus.COMMAND_OK,
    ExecStatus.EMPTY_QUERY,
    ExecStatus.PIPELINE_SYNC,
    CHUNK,
}
PLACEHOLDER = re.compile(
    r"%(?:%|(?:\((\w+)\))?b(?:::((?:timestamp with time zone|double precision|\w+)(?:\[\])?))?)"
)
PSYCOPGS = re.compile(r"%[(s]")
TEXTS = {None, "text", "varchar"}
"""Types whose values are the same in binary as in text; None is what a column of text is taken for."""
WRITTEN: dict[type, Callable[[Any], bytes | None]] = {
    type(None): lambda _: None,
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"%d" % value,
    float: lambda value: repr(value).encode(),
    UUID: lambda value: str(value).encode(),
    date: lambda value: value.isoformat().encode(),
    datetime: lambda value: value.isoformat().encode(),
}
"""How values are written as text, which the server reads as whatever type it wants there."""


class Answer:
    """What a statement brought. It is there after the pipeline that the statement is part of."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        """How many rows it returned or changed."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows that were not fetched yet. Raises ProgrammingError when there can be none."""
        if self._rows is None:
            raise psycopg.ProgrammingError("the statement returns no rows, or was not answered yet")
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, if any. Raises as `fetchall`."""
        row, *self._rows = self.fetchall() or (None,)
        return row

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def take(self, result: PGresult, transformer: abc.Transformer) -> None:
        """Read what the server sent, or a part of it."""
        self.rowcount = result.command_tuples or 0
        if result.status in (ExecStatus.TUPLES_OK, CHUNK):
            transformer.set_pgresult(result, set_loaders=True, format=Format.BINARY)
            rows = transformer.load_rows(0, result.ntuples, tuple)
            self._rows = self._rows + rows if self._rows else rows


class Sent(NamedTuple):
    """A statement with its parameters, and where its answer goes."""

    query: str
    """The key of its plan; empty for what is not to be prepared."""
    text: bytes
    values: list[bytes | None]
    formats: list[int]
    answer: Answer


class Plan(NamedTuple):
    """A statement that is to be prepared, and the name that it gets."""

    query: str
    name: bytes


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose statements go the short way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[str, bytes] = {}
        self._names = count()
        self._queue: list[Sent | None] | None = None
        self._transformer = Transformer(self)
        self._poll = select.poll()

    def execute(  # type: ignore[override]
        self,
        query: QueryNoTemplate,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        prepare: bool = True,
    ) -> Answer:
        """Send a statement, at the end of the `pipeline` if it is in one. Raises psycopg's errors.

        What is not sent again in these words need not be prepared.
        """
        compiled = _compiled(query, params=bool(params)) if isinstance(query, str) else None
        if compiled is None:
            if self._queue is not None:
                raise psycopg.ProgrammingError(f"only `%b` can stand in a pipeline: {query!r}")
            return super().execute(query, params, prepare=prepare)  # type: ignore[return-value]
        text, names, kinds = compiled
        values = [params[name] for name in names] if isinstance(params, Mapping) else params or ()
        sent = Sent(str(query) if prepare else "", text, [], [], Answer())
        for value, kind in zip(values, kinds, strict=True):
            data, form = self._dumped(value, kind)
            sent.values.append(data)
            sent.formats.append(form)
        if self._queue is not None:
            self._queue.append(sent)
        elif name := self._plans.get(sent.query):
            self._ask(name, sent)
        else:
            self._exchange([sent])
        return sent.answer

    @contextmanager
    def pipeline(self) -> Iterator[Connection]:  # type: ignore[override]
        """Send the statements of the block at its end, in one round trip; none when it raises.

        One that fails makes all later ones fail, up to the next `sync`; its error is raised.
        """
        if self._queue is not None:
            raise psycopg.ProgrammingError("a pipeline cannot be part of another")
        self._queue = []
        try:
            yield self
            queue = self._queue
        finally:
            self._queue = None
        if queue:
            self._exchange(queue)

    def sync(self) -> None:
        """Within `pipeline`: what comes before is a transaction of its own."""
        if self._queue is None:
            raise psycopg.ProgrammingError("there is no pipeline")
        self._queue.append(None)

    def _dumped(self, value: Any, kind: str | None) -> tuple[bytes | None, int]:
        if isinstance(value, Array):
            return packed(value), BINARY
        if isinstance(value, str):
            data = value.encode()
            if kind not in TEXTS and b"\0" in data:
                raise psycopg.DataError(f"{value!r} has a NUL in it")
            return data, BINARY if kind in TEXTS else TEXT
        if write := WRITTEN.get(type(value)):
            return write(value), TEXT
        if kind in ELEMENTS:
            return packed(Array(kind, value)), BINARY
        (found,) = self._transformer.dump_sequence((value,), (PyFormat.BINARY,))
        (form,) = self._transformer.formats or (BINARY,)
        return None if found is None else bytes(found), int(form)

    def _ask(self, name: bytes, sent: Sent) -> None:
        """Have one prepared statement answered by a single call of libpq's. It lets go of Python's
        lock once; an exchange does so at every step, and another thread takes it each time."""
        with self.lock:
            values: Sequence[Any] = sent.values  # psycopg's types forget that None is NULL
            result = self.pgconn.exec_prepared(name, values, sent.formats, BINARY)
        if self.pgconn.status == ConnStatus.BAD:
            raise psycopg.OperationalError(self.pgconn.get_error_message())
        if result.status not in FINE:
            raise error_from_result(result)
        sent.answer.take(result, self._transformer)

    def _exchange(self, queue: Sequence[Sent | None]) -> None:
        with self.lock:
            try:
                self.pgconn.enter_pipeline_mode()
                expected = self._send([*queue, None])
                results = self._results(expected.count(None))
                self.pgconn.exit_pipeline_mode()
            except BaseException:
                self.close()  # nobody knows what is still on its way
                raise
        failed = [result for result in results if result.status not in FINE]
        following = iter(expected)
        what = next(following)
        for result in results:
            if isinstance(what, Plan) and result.status in FINE:
                self._plans[what.query] = what.name
            elif isinstance(what, Answer) and not failed:
                what.take(result, self._transformer)
            if result.status != CHUNK:
                what = next(following, None)
        if failed:
            raise error_from_result(failed[0])

    def _send(self, queue: Sequence[Sent | None]) -> list[Plan | Answer | None]:
        """Send all of it; return what the results will be about, None for the end of a part."""
        pgconn, plans = self.pgconn, self._plans
        expected: list[Plan | Answer | None] = []
        for sent in queue:
            if sent is None:
                pgconn.pipeline_sync()
                expected.append(None)
                continue
            query, text, values, formats, answer = sent
            name = plans.get(query)
            if name is None and query and len(plans) < MOST_PLANS:
                name = b"k%d" % next(self._names)
                plans = plans | {query: name}
                pgconn.send_prepare(name, text)
                expected.append(Plan(query, name))
            if name is None:
                pgconn.send_query_params(text, values, None, formats, BINARY)
            else:
                pgconn.send_query_prepared(name, values, formats, BINARY)
            expected.append(answer)
        return expected

    def _results(self, parts: int) -> list[PGresult]:
        """What comes back, up to the end of so many parts."""
        results: list[PGresult] = []
        between = False
        while parts:
            while self.pgconn.is_busy():
                self._wait()
                self.pgconn.consume_input()
            result = self.pgconn.get_result()
            if result is not None:
                results.append(result)
                parts -= result.status == ExecStatus.PIPELINE_SYNC
            elif between:
                raise psycopg.OperationalError("the server has ended in the middle of a pipeline")
            between = result is None
        return results

    def _wait(self) -> None:
        """Wait for the server to send something, or to take what it has not taken yet."""
        unsent = self.pgconn.flush()
        self._poll.register(self.pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        self._poll.poll()


@lru_cache(4096)
def _compiled(
    query: str, *, params: bool
) -> tuple[bytes, tuple[str, ...], tuple[str | None, ...]] | None:
    """A statement as the server reads it, the names of its placeholders, empty where they have none,
    and the types that they name; None for one that is psycopg's own."""
    if not params:
        return query.encode(), (), ()
    names: list[str] = []
    kinds: list[str | None] = []

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name, kind = found[1] or "", found[2]
        if not name or name not in names:
            names.append(name)
            kinds.append(kind)
        return f"${names.index(name) + 1 if name else len(names)}" + (f"::{kind}" if kind else "")

    text = PLACEHOLDER.sub(number, query)
    return None if PSYCOPGS.search(text) else (text.encode(), tuple(names), tuple(kinds))
