"""What must not grow, whatever comes: connections, memory, pauses, rows for what was ignored."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.test import Client

from customers.models import CustomerActivity
from ecommerce.audit import audit
from ecommerce.messaging import database, rows, wakeup
from ecommerce.messaging.database import connect
from ecommerce.messaging.messages import partition_of
from ecommerce.messaging.registry import handles, projects
from ecommerce.messaging.sender import LONGEST_AGAIN_SECONDS, Flight
from ecommerce.messaging.services import services
from inventory.contracts import AdjustInventory, InventoryRestocked
from inventory.models import Product
from orders.models import CatalogueItem
from tests.messaging.calls import Caller, pay
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product, restocked
from tests.messaging.ledgers import NOW
from tests.messaging.steps import Puppet, counts, fetch, in_service, until, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

CLIENTS = 40
MANY = 1000


# Connections


def pooled() -> int:
    """How many connections the pools of this process have."""
    with connect("default", "observer") as conn:
        (found,) = conn.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'messaging'"
        ).fetchone() or (0,)
    return int(found)


@contextmanager
def burst() -> Iterator[None]:
    """As many commands at once as there are clients; none gets on before the block ends."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        with connect("default", "observer") as conn, conn.transaction():
            conn.execute("LOCK TABLE inventory_product IN ACCESS EXCLUSIVE MODE")
            sent = [clients.submit(create_product, f"p{number}") for number in range(CLIENTS)]
            yield
        for each in sent:
            each.result()


def test_in_a_burst_commands_wait_for_a_connection_and_all_succeed() -> None:
    with burst():
        until(lambda: pooled() == database.POOL_SIZE)
    assert pooled() <= database.POOL_SIZE + 1  # and the one that notifies
    assert Product.objects.count() == CLIENTS


def test_control_without_a_limit_each_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "POOL_SIZE", 10 * CLIENTS)
    with burst():
        until(lambda: pooled() >= CLIENTS)


def test_a_thousand_wake_ups_at_once_are_a_few_notifications(
    connection: Callable[[], database.Connection],
) -> None:
    # given
    listener = connection()
    listener.execute(f"LISTEN {wakeup.CHANNEL}")
    start = threading.Barrier(20)

    def wake() -> None:
        start.wait()
        for _ in range(MANY // 20):
            wakeup.wake("default", "deliver")

    # when
    with ThreadPoolExecutor(20) as threads:
        for each in [threads.submit(wake) for _ in range(20)]:
            each.result()
    # then
    assert list(wakeup._notifiers) == ["default"]
    heard = list(listener.notifies(timeout=1))
    assert 1 <= len(heard) < MANY / 4


# Memory


def test_memory_stays_flat_over_many_messages(puppet: Callable[..., Puppet]) -> None:
    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    worker = puppet("analytics")

    def used_after(run: int) -> int:
        """What this process holds once a thousand messages of streams of their own are done."""
        write("inventory", *(restocked(f"run-{run}-{number}", 1) for number in range(MANY)))
        assert worker.work() == MANY
        partition_of.cache_clear()  # bounded by itself; full after some thousand streams
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        used_after(0)
        before = used_after(1)
        after = [used_after(run) for run in range(2, 5)][-1]
    finally:
        tracemalloc.stop()

    assert after - before < 100 * MANY  # bytes; one kept object for each message is more
    maximum = partition_of.cache_info().maxsize
    assert maximum is not None


# Pauses


def test_after_a_thousand_attempts_a_delivery_is_given_up_like_any_other(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> None:
        raise ValueError("never")

    worker = puppet("analytics")
    write("inventory", restocked("a", 1))
    worker.work()
    fetch("analytics", "UPDATE {parked} SET attempts = 1000, due_at = messaging_now() RETURNING 1")

    assert worker.retry() == 1

    assert fetch("analytics", "SELECT attempts, reason FROM {dead}") == [(10, "attempts")]


def test_after_a_thousand_attempts_so_is_a_call(caller: Callable[[str], Caller]) -> None:
    pay("o1", "card_unavailable")
    fetch("payments", "UPDATE {effect} SET attempts = 1000, claims = 1000 RETURNING 1")

    caller("one").perform()

    assert fetch("payments", "SELECT handler FROM {dead}") == [("payments.charge_card",)]


@pytest.mark.parametrize("times", [1, 4, 10, 1000, 5000])
def test_however_often_a_batch_was_sent_the_pause_has_an_end(times: int) -> None:
    flight = Flight(times=times, sent_at=0.0)
    flight.age = lambda: LONGEST_AGAIN_SECONDS - 27.5  # type: ignore[method-assign]
    assert flight.waits()
    flight.age = lambda: LONGEST_AGAIN_SECONDS + 0.1  # type: ignore[method-assign]
    assert not flight.waits()


# Rows


def test_an_event_that_is_ignored_leaves_no_row(puppet: Callable[..., Puppet]) -> None:
    @projects
    @in_service("orders")
    def ignore(event: InventoryRestocked, item: CatalogueItem | None) -> None: ...

    write("inventory", restocked("a", 1))
    assert puppet("orders").work() == 1

    assert CatalogueItem.objects.count() == 0


def test_control_what_a_projection_returns_is_a_row(puppet: Callable[..., Puppet]) -> None:
    @projects
    @in_service("orders")
    def keep(event: InventoryRestocked, item: CatalogueItem | None) -> CatalogueItem:
        return CatalogueItem(product_id=event.product_id, name="A", price=1, currency="USD")

    write("inventory", restocked("a", 1))
    assert puppet("orders").work() == 1

    assert CatalogueItem.objects.count() == 1


def spent_after_a_change_inside(puppet: Callable[..., Puppet]) -> object:
    """What is stored after a projection has changed a document that it was given."""

    @projects(activity=lambda event: event.product_id)
    @in_service("customers")
    def spend(
        event: InventoryRestocked, activity: CustomerActivity | None
    ) -> CustomerActivity | None:
        if activity is None:
            return CustomerActivity(
                customer_id=event.product_id,
                spent={"USD": 1},
                first_order_at=NOW,
                last_order_at=NOW,
            )
        activity.spent["USD"] += event.quantity
        return None

    worker = puppet("customers")
    for _ in range(2):
        write("inventory", restocked("ada", 5))
        worker.work()
    return CustomerActivity.objects.get(customer_id="ada").spent


def test_a_change_inside_a_document_is_written(puppet: Callable[..., Puppet]) -> None:
    assert spent_after_a_change_inside(puppet) == {"USD": 6}


def test_control_without_comparing_contents_it_is_missed(
    puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_json_differs", lambda before, after: False)
    assert spent_after_a_change_inside(puppet) == {"USD": 1}


def test_asking_writes_nothing(client: Client, puppet: Callable[..., Puppet]) -> None:
    create_product("mouse")
    puppet("orders").work()
    before = {config.label: counts(config.label) for config in services()}

    client.get("/health/ready")
    audit(patience=0)

    assert {config.label: counts(config.label) for config in services()} == before


# A schema that changes under open connections


def test_a_column_that_is_added_is_no_obstacle_to_open_connections(
    puppet: Callable[..., Puppet], connection: Callable[[], database.Connection]
) -> None:
    # given a worker and a pool that have run, and know the tables
    worker, upgrade = puppet("orders"), connection()
    create_product("before")
    worker.work()
    tables = ("inventory_log", "inventory_product", "orders_catalogueitem", "orders_partition")
    # when
    for table in tables:
        upgrade.execute(f'ALTER TABLE "{table}" ADD COLUMN upgraded integer DEFAULT 7')
    try:
        create_product("after")
        worker.work()
        # then
        assert set(CatalogueItem.objects.values_list("product_id", flat=True)) == {
            "before",
            "after",
        }
        assert fetch("orders", "SELECT count(*) FROM {parked}") == [(0,)]
    finally:
        for table in tables:
            upgrade.execute(f'ALTER TABLE "{table}" DROP COLUMN upgraded')
