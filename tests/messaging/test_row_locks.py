"""Two workers, one product: what one of them decides, the other one sees."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ecommerce.messaging import drain, transactions
from ecommerce.messaging.database import Connection
from ecommerce.messaging.rows import Statement, Table, Workspace
from inventory.models import Reservation, StockItem
from tests.messaging.examples import create_product, reserve
from tests.messaging.steps import Puppet, counts, is_blocked, until, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

UNITS, ORDERS = 50, 200


@pytest.fixture
def workers(puppet: Callable[..., Puppet]) -> tuple[Puppet, Puppet]:
    """Two workers of inventory, each with half of the partitions."""
    one, two = puppet("inventory"), puppet("inventory")
    for worker in (one, two, one, two):
        worker.hold()
    assert len(one.held) == len(two.held) == 32
    return one, two


def sell(workers: tuple[Puppet, Puppet], monkeypatch: pytest.MonkeyPatch) -> None:
    """200 orders want one of 50 units each; both workers load their rows before either writes."""
    create_product("mouse", stock=UNITS)
    write("orders", *(reserve(f"o{number}") for number in range(ORDERS)))
    begin = transactions.begin
    loaded: set[int] = set()
    one, two = workers

    def begin_and_wait(conn: Connection, workspace: Workspace) -> None:
        begin(conn, workspace)
        other = two.conn if conn is one.conn else one.conn
        first = threading.get_ident() not in loaded
        loaded.add(threading.get_ident())
        if first:
            until(lambda: len(loaded) == 2 or is_blocked(other))

    monkeypatch.setattr(drain, "begin", begin_and_wait)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(drained, worker) for worker in workers]:
            done.result()


def drained(worker: Puppet) -> None:
    while worker.step(limit=30):
        pass


def sold() -> int:
    return Reservation.objects.filter(status="Reserved").count()


def test_no_unit_is_sold_twice(
    workers: tuple[Puppet, Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(workers, monkeypatch)

    assert sold() == UNITS
    assert Reservation.objects.filter(status="Insufficient").count() == ORDERS - UNITS
    item = StockItem.objects.get()
    assert (item.on_hand, item.reserved) == (UNITS, UNITS)
    assert counts("inventory")["parked"] == counts("inventory")["dead"] == 0


def test_control_without_row_locks_more_are_sold_than_there_are(
    workers: tuple[Puppet, Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    select = Table.select

    def without_lock(table: Table, keys: list[tuple[str, ...]], *, lock: bool) -> Statement:
        return select(table, keys, lock=False)

    monkeypatch.setattr(Table, "select", without_lock)

    sell(workers, monkeypatch)

    assert sold() > UNITS
