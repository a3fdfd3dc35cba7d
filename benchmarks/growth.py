"""Throughput with a history, and beside long transactions.

A backlog is carried out by two workers in a shop that has none, a hundred thousand and a million
orders behind it: logs, delivery logs, aggregates and read models, made of the rows of real orders
with other ids. Each time also while somebody holds a snapshot open that sees all tables, and while
somebody has written to a table of no concern and does not commit. The runs of one size take turns in
one database, which grows by what they place; the empty shop comes last. There a backlog of two
minutes and more is carried out as well, beside each of the three. `Sequential scans` are those of tables with more than
ten thousand rows during the run, by anybody; there should be none. Of each run every order must be
shipped and nothing left to do; the audit is asked in the shop without a history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import psycopg
from django.db import connection

from customers.models import OrderSummary

from . import history, runs, workload
from .options import Failed, Options
from .report import Table, spread
from .runs import Meter
from .server import Server
from .workers import held_back, release, working

BIG = 10_000
OPEN = "-c idle_in_transaction_session_timeout=0"
COLUMNS = (
    "orders before", "beside", "sagas/s", "of the empty shop", "CPU ms/order", "sequential scans",
)  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """One run: sagas a second, CPU milliseconds an order, big tables that were scanned."""

    rate: float
    cpu_ms: float
    scanned: frozenset[str]


def measure(server: Server, options: Options) -> list[Table]:
    """Each size in turn; within one, what is held open takes turns."""
    base = options.sized(3000, 20)
    placed = options.sized(2000, 20)
    made: dict[tuple[int, str], list[Grown]] = {}
    copies = 0
    begin(server, base, options.workers)
    for wanted in options.sized((100_000, 1_000_000), (100,)):
        history.multiply(server, copies + 1, wanted // base)
        copies = wanted // base
        made |= _take_turns(server, options, wanted, placed)
    runs.clone(server, runs.SHOP)
    made |= _take_turns(server, options, 0, placed)
    workload.check()
    long = {}
    for beside, holding in HELD.items():
        runs.clone(server, runs.SHOP)
        expected = workload.mix(options.sized(40_000, 20))
        long[0, beside] = [_run(server, expected, options.workers, holding)]
    runs.leave()
    return [
        Table("Growth", COLUMNS, _rows(made)),
        Table("Held for two minutes and more", COLUMNS, _rows(long)),
    ]


def _take_turns(
    server: Server, options: Options, before: int, placed: int
) -> dict[tuple[int, str], list[Grown]]:
    runs.vacuum(server)
    made: dict[tuple[int, str], list[Grown]] = {}
    for number in range(options.rounds):
        for beside, holding in HELD.items():
            expected = workload.mix(placed, seed=before + number)
            run = _run(server, expected, options.workers, holding)
            made.setdefault((before, beside), []).append(run)
    return made


def begin(server: Server, base: int, workers: int) -> None:
    """Replace what is there by real orders to be multiplied."""
    runs.clone(server, runs.SHOP)
    expected = workload.mix(base)
    workload.place(expected.orders)
    with working(server.url, workers):
        runs.wait_until_done(expected)
    history.remember(server)


def _run(
    server: Server,
    expected: workload.Mix,
    workers: int,
    holding: Callable[[str], AbstractContextManager[object]],
) -> Grown:
    workload.place(expected.orders)
    ids = [order.order_id for order in expected.orders]
    _everybody_left(server)
    before = _scans(server)
    with (
        holding(server.url),
        held_back(server.url) as gate,
        working(server.url, workers) as processes,
    ):
        meter = Meter(server, processes)
        reserved = f"SELECT count(*) FROM inventory_reservation WHERE order_id = '{ids[0]}'"
        release(gate, reserved)
        used = _wait(ids, meter)
    _everybody_left(server)
    after = _scans(server)
    scanned = frozenset(
        name
        for name, (read, rows) in after.items()
        if read - before.get(name, (read, 0))[0] >= rows
    )
    wall, own, servers = used
    return Grown(len(ids) / wall, (own + servers) / len(ids) * 1000, scanned)


def _wait(ids: Sequence[str], meter: Meter) -> tuple[float, float, float]:
    """Wait until these orders are shipped and nothing is left. Raises Failed."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")  # looking must not count as a scan
    until = time.monotonic() + runs.LONGEST
    shipped = OrderSummary.objects.filter(
        tenant=workload.TENANT, order_id__in=ids, status="Shipped", shipment_status="Created"
    )
    last = shipped.filter(order_id=ids[-1])  # asking for all of them is work
    while time.monotonic() < until:
        used = meter.used()
        if last.exists() and shipped.count() == len(ids) and next(workload.undone(), None) is None:
            return used
        time.sleep(runs.LOOK_SECONDS)
    raise Failed("\n".join([f"{shipped.count()} of {len(ids)} shipped", *workload.undone()]))


def _everybody_left(server: Server) -> None:
    """Then the statistics are complete."""
    runs.leave()
    server.settled()


def _scans(server: Server) -> dict[str, tuple[int, int]]:
    """The rows that scans have read of each big table, and how many it has.

    The number of scans does not tell: summarizing a BRIN index counts as one of its few new pages.
    """
    with psycopg.connect(server.url) as conn:
        rows = conn.execute(
            """SELECT s.relname, s.seq_tup_read, c.reltuples::bigint FROM pg_stat_user_tables s
               JOIN pg_class c ON c.oid = s.relid WHERE c.reltuples > %s""",
            [BIG],
        ).fetchall()
    return {str(name): (int(str(read)), int(str(count))) for name, read, count in rows}


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    """A transaction that sees all tables as they are now, whatever follows."""
    with psycopg.connect(url, options=OPEN) as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        conn.execute("SELECT pg_current_snapshot()")
        yield


@contextmanager
def _write(url: str) -> Iterator[None]:
    """A transaction that has written to a table of no concern."""
    with psycopg.connect(url, options=OPEN) as conn:
        conn.execute("INSERT INTO auth_group (name) VALUES ('not committed')")
        yield
        conn.rollback()


HELD: dict[str, Callable[[str], AbstractContextManager[object]]] = {
    "nothing": lambda _: nullcontext(),
    "an open snapshot": _snapshot,
    "an open write": _write,
}


def _rows(made: dict[tuple[int, str], list[Grown]]) -> list[tuple[str, ...]]:
    empty = made[0, "nothing"]
    return [
        (
            f"{wanted:,}",
            beside,
            spread(run.rate for run in grown),
            spread((a.rate / b.rate for a, b in zip(grown, empty, strict=True)), 2),
            spread((run.cpu_ms for run in grown), 2),
            ", ".join(sorted(frozenset().union(*(run.scanned for run in grown)))) or "none",
        )
        for (wanted, beside), grown in sorted(made.items())
    ]
