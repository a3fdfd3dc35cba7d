"""Workers come, go and crash under load: nothing is lost, doubled or reordered."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

import pytest

from ecommerce.messaging import lane
from ecommerce.messaging import worker as worker_module
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import connect
from ecommerce.messaging.registry import handles
from ecommerce.messaging.worker import Worker
from inventory.contracts import AdjustInventory, InventoryRestocked, ReserveInventory, WantedLine
from inventory.models import StockItem
from tests.messaging.conftest import Clock
from tests.messaging.examples import LATER, create_product, restocked
from tests.messaging.steps import append, counts, fetch, in_service, until, written

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


def test_commands_that_name_rows_in_any_order_do_not_deadlock() -> None:
    products = [f"p{number}" for number in range(6)]
    for product in products:
        create_product(product, stock=1000)
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def reserve_all(name: int, order: Callable[[list[str]], list[str]]) -> None:
        start.wait()
        for number in range(25):
            lines = tuple(WantedLine(product, product, 1) for product in order(products))
            command = ReserveInventory(order_id=f"{name}/{number}", lines=lines, expires_at=LATER)
            try:
                execute(command, tenant="main", actor="test")
            except Exception as error:  # noqa: BLE001
                failures.append(error)

    orders: list[Callable[[list[str]], list[str]]] = [list, lambda p: p[::-1]] * 2
    threads = [
        threading.Thread(target=reserve_all, args=(name, order))
        for name, order in enumerate(orders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert set(StockItem.objects.values_list("reserved", flat=True)) == {100}
