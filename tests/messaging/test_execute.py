"""A command and all that it causes is one commit, or nothing; and one for each key."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from ecommerce.messaging import bus
from ecommerce.messaging.bus import Outcome, execute
from ecommerce.messaging.database import Connection
from ecommerce.messaging.database import connection as pooled
from ecommerce.messaging.delivery import by
from ecommerce.messaging.errors import Conflict, NotFound
from ecommerce.messaging.leases import LEASE_SECONDS
from ecommerce.messaging.rows import Key, Statement, Table
from inventory.contracts import InventoryRestocked, RestockInventory, StockReserved
from inventory.models import Reservation, StockItem
from orders.contracts import CreateOrder, OrderCreated, RequestedLine
from orders.models import CatalogueItem, Fulfilment, Order
from tests.messaging.calls import Caller, pay
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product, reserve
from tests.messaging.steps import Puppet, counts, fetch, until, waiting, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def create_order() -> CreateOrder:
    CatalogueItem.objects.create(
        tenant="main", product_id="mouse", name="Mouse", price=1999, currency="USD"
    )
    line = RequestedLine(product_id="mouse", quantity=2)
    return CreateOrder(order_id="o1", customer_id="cust-123", lines=(line,))


def everything() -> dict[str, int]:
    """How many rows orders has of each kind, its business rows too."""
    rows = {model.__name__: model._base_manager.count() for model in (Order, Fulfilment)}
    return counts("orders") | rows


class Breaking:
    """A connection that fails when its n-th statement is sent, or has the server refuse it."""

    def __init__(self, conn: Connection, at: int, fault: str) -> None:
        self._conn, self._at, self._fault = conn, at, fault
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, query: str, *args: Any, **options: Any) -> Any:
        if query == "ROLLBACK":
            return self._conn.execute(query)
        self.statements += 1
        if self.statements == self._at:
            if self._fault == "ours":
                raise ZeroDivisionError
            return self._conn.execute("SELECT 1 / 0")
        return self._conn.execute(query, *args, **options)


class Apart(Breaking):
    """One that commits what stands before the messages of a decision by itself."""

    def execute(self, query: str, *args: Any, **options: Any) -> Any:
        if 'INSERT INTO "orders_log"' in query:
            self._conn.execute("COMMIT")
            self._conn.execute("BEGIN")
        return super().execute(query, *args, **options)


def left_behind(
    command: CreateOrder, monkeypatch: pytest.MonkeyPatch, kind: type[Breaking], fault: str
) -> Iterator[dict[str, int]]:
    """Let a command fail at its first statement, then at its second, until it does not fail; what
    there is each time."""
    point, done = 0, False
    while not done:
        point += 1
        breaking: list[Breaking] = []

        @contextmanager
        def broken(alias: str) -> Iterator[Breaking]:
            with pooled(alias) as conn:
                breaking.append(kind(conn, point, fault))  # noqa: B023
                yield breaking[-1]  # noqa: B023

        monkeypatch.setattr(bus, "connection", broken)
        with suppress(ZeroDivisionError, psycopg.errors.DivisionByZero):
            execute(command, tenant="main", actor="user:1")
        yield everything()
        done = breaking[0].statements < point


@pytest.mark.parametrize("fault", ["ours", "the server's"])
def test_a_command_that_fails_at_any_point_stores_nothing(
    create_order: CreateOrder, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    before = everything()

    *failed, done = left_behind(create_order, monkeypatch, Breaking, fault)

    # BEGIN, clock, three locking reads, writes, delivery log, append and COMMIT.
    assert len(failed) > 8
    assert failed == [before] * len(failed)
    assert done == {**before, "Order": 1, "Fulfilment": 1, "log": 2, "delivery": 1}


def test_control_in_two_transactions_an_order_is_there_of_which_nobody_is_told(
    create_order: CreateOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything()

    found = left_behind(create_order, monkeypatch, Apart, "the server's")

    left = next(rows for rows in found if rows != before)
    assert left == {**before, "Order": 1, "Fulfilment": 1, "delivery": 1}


def test_what_a_command_did_is_told_with_its_messages_and_rows(create_order: CreateOrder) -> None:
    outcome = execute(create_order, tenant="main", actor="user:1")

    created, wanted = outcome.messages
    assert isinstance(created, OrderCreated)
    assert outcome.messages == written("orders") == [created, wanted]
    assert outcome.row(Order).order_id == "o1"
    assert Order.objects.get().id == outcome.row(Order).id


def test_a_refused_command_stores_nothing_and_says_why(create_order: CreateOrder) -> None:
    execute(create_order, tenant="main", actor="user:1")
    before = everything()

    with pytest.raises(Conflict, match="order o1 exists already"):
        execute(create_order, tenant="main", actor="user:1")
    with pytest.raises(NotFound, match="stock of product unicorn does not exist"):
        execute(RestockInventory(product_id="unicorn", quantity=1), tenant="main", actor="user:1")

    assert everything() == before


def test_two_tenants_with_the_same_ids_do_not_meet() -> None:
    for tenant, stock in (("main", 10), ("other", 3)):
        create_product("mouse", stock, tenant=tenant)
        execute(reserve("o1", quantity=2), tenant=tenant, actor="t")
    execute(RestockInventory(product_id="mouse", quantity=5), tenant="other", actor="t")

    rows = StockItem.objects.order_by("tenant").values_list("tenant", "on_hand", "reserved")
    assert list(rows) == [("main", 10, 2), ("other", 8, 2)]
    assert Reservation.objects.filter(order_id="o1").count() == 2


def of_ten_units() -> list[str]:
    """Of ten units, one command reserves four and has not committed when another wants seven.
    Return the orders that got theirs."""
    create_product("mouse", stock=10)

    def meanwhile(_: Outcome) -> bus.Response:
        second.append(pool.submit(execute, reserve("o2", quantity=7), tenant="main", actor="t"))
        until(lambda: second[0].done() or waiting("inventory"))
        return bus.Response(200, {}, "")

    second: list[Future[Outcome]] = []
    with ThreadPoolExecutor(1) as pool:
        execute(reserve("o1", quantity=4), tenant="main", actor="t", respond=meanwhile)
        second[0].result()
    return sorted(m.order_id for m in written("inventory") if isinstance(m, StockReserved))


def test_two_commands_on_one_row_take_turns() -> None:
    assert of_ten_units() == ["o1"]
    assert StockItem.objects.get().reserved == 4


def test_control_without_the_row_lock_both_take_what_one_could_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    select = Table.select

    def without_lock(table: Table, keys: list[Key], *, lock: bool) -> Statement:
        return select(table, keys, lock=False)

    monkeypatch.setattr(Table, "select", without_lock)

    assert of_ten_units() == ["o1", "o2"]
    assert StockItem.objects.get().reserved == 4


def test_a_person_s_command_leaves_one_delivery_and_no_copy_of_itself() -> None:
    create_product("mouse")
    execute(RestockInventory(product_id="mouse", quantity=3), tenant="main", actor="user:7")

    assert [m for m in written("inventory") if isinstance(m, RestockInventory)] == []
    arrived = [m.quantity for m in written("inventory") if isinstance(m, InventoryRestocked)]
    assert arrived == [3]
    rows = fetch("inventory", 'SELECT handler, worker FROM "{delivery}" ORDER BY id')
    assert rows[1:] == [("inventory.restock", by("user:7"))]
    host, process, actor = by("user:7").split(":", 2)
    assert (host, int(process), actor) == (socket.gethostname()[:40], os.getpid(), "user:7")


# Who executes claims nothing


@pytest.fixture
def for_the_taking(clock: Clock, puppet: Callable[..., Puppet]) -> Puppet:
    """There is work: a message that nobody has read, a call that is due, and the leases of a worker
    who is gone."""
    gone = puppet("payments")
    gone.hold()
    clock.advance(LEASE_SECONDS + 1)
    pay("o1")
    return gone


def claims() -> list[Any]:
    """All that is written about who holds what, in payments."""
    columns = "id, token, claims, attempts, due_at"
    queries = (
        'SELECT to_jsonb(p) FROM "{partition}" p ORDER BY number',
        'SELECT to_jsonb(w) FROM "{worker}" w ORDER BY name',
        f'SELECT {columns} FROM "{{effect}}" ORDER BY id LIMIT 1',
    )
    return [fetch("payments", query) for query in queries]


def test_a_process_that_executes_takes_no_work_along(for_the_taking: Puppet) -> None:
    before = claims()

    for number in range(2, 10):
        pay(f"o{number}")

    assert claims() == before
    assert fetch("payments", 'SELECT DISTINCT token, claims FROM "{effect}"') == [(None, 0)]


def test_control_a_worker_takes_all_of_it(
    for_the_taking: Puppet, puppet: Callable[..., Puppet], caller: Callable[[str], Caller]
) -> None:
    before = claims()

    puppet("payments").hold()
    worker = caller("worker")
    worker.effects._claim(worker.conn, 1)

    assert [now == then for now, then in zip(claims(), before, strict=True)] == [False] * 3
