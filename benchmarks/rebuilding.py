"""Rebuilding read models, and the log as an event store.

Rebuild: each group of read models from all events, in a shop with shipped orders; afterwards no row
may differ. Event store: one writer appends to new streams with the expected version, one event or a
hundred in a transaction; one reader reads the log in order and decodes it, and must find as many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ecommerce.messaging import events, projections
from ecommerce.messaging.models import ReadModel, uuid7
from inventory.contracts import InventoryRestocked

from . import runs, workload
from .options import Failed, Options
from .report import Table, spread
from .server import Server
from .workers import working

SHIPPED = "bench_rebuilt"


def measure(server: Server, options: Options) -> list[Table]:
    """Rebuild of every group, then append and read."""
    expected = workload.mix(options.sized(3000, 30))
    runs.place(server, expected)
    runs.clone(server, runs.PLACED)
    with working(server.url, options.workers):
        runs.wait_until_done(expected)
    runs.keep(server, SHIPPED)
    rebuilt: dict[str, list[float]] = {}
    stored: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        runs.clone(server, SHIPPED)
        for group in projections.groups(projections.read_models()):
            if rate := _rebuild(group):
                rebuilt.setdefault(", ".join(_names(group)), []).append(rate)
        for what, rate in _store(options.sized(2000, 20)):
            stored.setdefault(what, []).append(rate)
    runs.leave()
    note = f"After {len(expected.orders):,} orders."
    return [
        Table("Rebuild", ("read models", "events/s"), _rows(rebuilt), [note]),
        Table("Event store", ("", "events/s"), _rows(stored)),
    ]


def _names(group: list[type[ReadModel]]) -> list[str]:
    return [model._meta.label for model in group]


def _rebuild(group: list[type[ReadModel]]) -> float:
    """Events a second; 0 when there are none. Raises Failed when a row was not what the events say."""
    started = time.perf_counter()
    result = projections.rebuild(group)
    seconds = time.perf_counter() - started
    if differing := {model._meta.label: rows for model, rows in result.differences.items() if rows}:
        raise Failed(f"rows that the events do not say: {differing}")
    return result.events / seconds


def _store(count: int) -> Iterator[tuple[str, float]]:
    """What was done, and how many events a second."""
    last = events.horizon("inventory")
    yield "append, one by one", _timed(count, lambda: _append(count, 1))
    yield "append, a hundred at a time", _timed(10 * count, lambda: _append(10 * count, 100))
    yield "read and decode", _timed(11 * count, lambda: _read(last, 11 * count))


def _timed(count: int, act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return count / (time.perf_counter() - started)


def _append(count: int, together: int) -> None:
    for _ in range(0, count, together):
        restocked = InventoryRestocked(product_id=str(uuid7()), quantity=1)
        events.append([restocked] * together, expected=0, tenant=workload.TENANT, actor="benchmark")


def _read(after: int, count: int) -> None:
    wanted = events.Wanted(name="inventory.InventoryRestocked")
    decoded = [event.message() for event in events.read("inventory", wanted, after=after)]
    if len(decoded) != count:
        raise Failed(f"{len(decoded)} events were read of {count}")


def _rows(made: dict[str, list[float]]) -> list[tuple[str, str]]:
    return [(what, spread(rates)) for what, rates in made.items()]
