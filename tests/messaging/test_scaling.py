"""Workers come, go and crash under load: nothing is lost, doubled or reordered."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from ecommerce.messaging import bus, lane
from ecommerce.messaging import worker as worker_module
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.registry import handles
from ecommerce.messaging.rows import Key, Statement, Table
from ecommerce.messaging.worker import Worker
from inventory.contracts import AdjustInventory, InventoryRestocked, ReserveInventory, WantedLine
from inventory.models import StockItem
from tests.messaging.conftest import Clock
from tests.messaging.examples import LATER, create_product, restocked
from tests.messaging.steps import append, counts, fetch, in_service, until, waiting, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

STREAMS, MESSAGES = 20, 600


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share out the partitions often, and look for work all the time."""
    for module in (worker_module, lane):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.01)

    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")


class Running:
    """A worker of analytics in a thread of its own."""

    def __init__(self) -> None:
        self.worker = Worker(["analytics"])
        self.thread = threading.Thread(target=self.worker.run, daemon=True)
        self.thread.start()
        until(lambda: self.held)

    @property
    def held(self) -> set[int]:
        return set(self.worker.lanes[0].drains[0].leases.held)

    def stop(self) -> None:
        self.worker.stop()
        self.thread.join()

    def crash(self) -> None:
        """Stop without giving anything back."""
        (only,) = self.worker.lanes
        only.sign_off = only.disconnect  # type: ignore[method-assign]
        self.stop()


def write_all() -> None:
    """Write messages, numbered over all, one transaction each."""
    with connect("default") as conn:
        for number in range(MESSAGES):
            with conn.transaction():
                append(conn, "inventory", restocked(f"p{number % STREAMS}", number))


def noted() -> dict[str, list[int]]:
    """What was noted of each product, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in written("analytics"):
        assert isinstance(message, AdjustInventory)
        found[message.product_id].append(message.change)
    return found


def assert_each_once_in_order() -> None:
    expected = {f"p{stream}": list(range(stream, MESSAGES, STREAMS)) for stream in range(STREAMS)}
    assert noted() == expected
    assert fetch("analytics", "SELECT count(*) FROM {parked}") == [(0,)]
    assert fetch("analytics", "SELECT count(*) FROM {dead}") == [(0,)]


def progress() -> int:
    return counts("analytics")["log"]


def test_workers_come_go_and_crash_under_load(clock: Clock) -> None:
    writer = threading.Thread(target=write_all)
    writer.start()
    first = Running()
    second, third = Running(), Running()
    until(lambda: progress() > MESSAGES // 4)
    second.stop()
    fourth = Running()
    until(lambda: progress() > MESSAGES // 2)
    third.crash()
    clock.advance(11)  # all leases run out: the living are fenced and begin anew
    writer.join()
    until(lambda: progress() >= MESSAGES)
    for worker in (first, fourth):
        worker.stop()

    assert_each_once_in_order()


def test_two_workers_become_five_and_then_one_under_load() -> None:
    writer = threading.Thread(target=write_all)
    workers = [Running(), Running()]
    writer.start()
    until(lambda: progress() > MESSAGES // 6)
    workers += [Running() for _ in range(3)]
    until(lambda: [len(worker.held) for worker in workers].count(13) == 4)
    until(lambda: progress() > MESSAGES // 2)
    *leaving, last = workers
    for worker in leaving:
        worker.stop()
    until(lambda: len(last.held) == 64)
    writer.join()
    until(lambda: progress() >= MESSAGES)
    last.stop()

    assert_each_once_in_order()


# Rows in any order


PRODUCTS = [f"p{number}" for number in range(6)]


@pytest.fixture
def _in_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is enough of all products. A command that loses a race is not tried again: a deadlock
    that a retry would hide shows."""
    for product in PRODUCTS:
        create_product(product, stock=1000)
    monkeypatch.setattr(bus, "MOST_TRIES", 1)


def reserve_each(order_id: str, products: Sequence[str]) -> None:
    """Reserve one of each product, named in this order."""
    lines = tuple(WantedLine(product, product, 1) for product in products)
    command = ReserveInventory(order_id=order_id, lines=lines, expires_at=LATER)
    execute(command, tenant="main", actor="test")


@pytest.mark.usefixtures("_in_stock")
def test_commands_that_name_rows_in_any_order_do_not_deadlock() -> None:
    start = threading.Barrier(4)

    def reserve_all(name: int) -> None:
        start.wait()
        for number in range(25):
            reserve_each(f"{name}/{number}", PRODUCTS[:: (-1) ** name])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reserve_all, range(4)))

    assert set(StockItem.objects.values_list("reserved", flat=True)) == {100}


def crossing(holder: Connection) -> list[BaseException | None]:
    """One command names all products, another the same from behind, and both have begun to lock
    when one in the middle, which somebody holds, is let go. Return how each ended."""
    with ThreadPoolExecutor(2) as pool:
        with holder.transaction():
            holder.execute("SELECT FROM inventory_stockitem WHERE product_id = 'p1' FOR UPDATE")
            there = pool.submit(reserve_each, "there", PRODUCTS)
            until(lambda: waiting("inventory") == 1)
            back = pool.submit(reserve_each, "back", PRODUCTS[::-1])
            until(lambda: waiting("inventory") == 2)
        return [there.exception(), back.exception()]


@pytest.fixture
def as_named(_in_stock: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the statements that lock get their keys in the order in which the commands name them,
    forwards and then backwards, and end in this. In one process, a set has the same order twice."""

    def patch(end: str) -> None:
        select, directions = Table.select, iter((1, -1))

        def altered(table: Table, keys: Sequence[Key], *, lock: bool) -> Statement:
            if table.model is StockItem:
                keys = keys[:: next(directions)]
            query, values = select(table, keys, lock=lock)
            return re.sub(" ORDER BY (.*) FOR UPDATE", end, query), values

        monkeypatch.setattr(Table, "select", altered)

    return patch


def test_two_that_cross_wait_for_each_other_at_the_first_row(
    as_named: Callable[[str], None], connection: Callable[[], Connection]
) -> None:
    as_named(r" ORDER BY \1 FOR UPDATE")

    assert crossing(connection()) == [None, None]
    assert list(StockItem.objects.values_list("reserved", flat=True)) == [2] * len(PRODUCTS)


def test_control_without_an_order_of_locks_one_of_them_is_a_deadlock(
    as_named: Callable[[str], None], connection: Callable[[], Connection]
) -> None:
    as_named(" FOR UPDATE")

    ends = crossing(connection())

    assert {type(end) for end in ends} == {type(None), psycopg.errors.DeadlockDetected}
    assert list(StockItem.objects.values_list("reserved", flat=True)) == [1] * len(PRODUCTS)
