"""What a batch costs the database: a few round trips, however long it is, and nothing in its
catalogue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce.messaging.database import Connection
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.registry import handles
from ecommerce.messaging.services import services
from inventory.contracts import AdjustInventory, InventoryRestocked
from tests.messaging.examples import restocked
from tests.messaging.steps import Counting, Puppet, in_service, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def conn(connection: Callable[[], Connection]) -> Counting:
    return Counting(connection())


@pytest.fixture
def worker(puppet: Callable[..., Puppet], conn: Counting) -> Puppet:
    """A worker of analytics, where a handler answers each message."""

    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    made = puppet("analytics")
    made.conn.close()
    made.conn = conn  # type: ignore[assignment]
    made.hold()
    return made


def deliver(worker: Puppet, messages: int) -> None:
    write("inventory", *(restocked(f"p{number}", number) for number in range(messages)))
    assert worker.step() == messages


@pytest.mark.parametrize("messages", [1, 10, 300])
def test_a_batch_is_five_round_trips_however_long_it_is(
    worker: Puppet, conn: Counting, messages: int
) -> None:
    before = conn.round_trips

    deliver(worker, messages)

    # Which logs have grown, how far they can be read, what is new; rows and locks; all writes.
    assert conn.round_trips - before == 5


def test_a_look_that_finds_nothing_is_two(worker: Puppet, conn: Counting) -> None:
    deliver(worker, 1)
    assert worker.step() == 0  # it has read what the batch before wrote
    before = conn.round_trips

    assert worker.step() == 0

    assert conn.round_trips - before == 2


def test_a_lane_asks_once_for_all_services_as_long_as_nobody_else_writes(conn: Counting) -> None:
    lane = Lane("default", services(), "all", {})
    lane._conns["default"] = conn  # type: ignore[assignment]
    lane.step()
    write("inventory", restocked("p1", 1))
    before = conn.round_trips

    # Which logs have grown, how far they can be read, what is new; rows and writes of two services.
    assert lane.step() == 2
    assert conn.round_trips - before == 3 + 2 * 2

    while lane.step():
        pass
    before = conn.round_trips
    assert lane.step() == 0
    assert conn.round_trips - before == 1
    lane.sign_off()


def catalogue(conn: Counting) -> tuple[int, ...]:
    """How many rows the catalogue of tables and columns has been given, ever."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    found = conn.execute(
        """SELECT pg_stat_get_tuples_inserted('pg_class'::regclass),
                  pg_stat_get_tuples_inserted('pg_attribute'::regclass)"""
    )
    return tuple(found.fetchone())


def test_batches_leave_nothing_in_the_catalogue(worker: Puppet, conn: Counting) -> None:
    before = catalogue(conn)

    for number in range(10):
        deliver(worker, number + 1)
        worker.hold()

    assert catalogue(conn) == before


def test_control_a_temporary_table_for_each_would(worker: Puppet, conn: Counting) -> None:
    before = catalogue(conn)

    for number in range(10):
        deliver(worker, number + 1)
        conn.execute("CREATE TEMPORARY TABLE seen ON COMMIT DROP AS SELECT 1 AS position")

    tables, columns = (now - then for now, then in zip(catalogue(conn), before, strict=True))
    assert (tables, columns > tables) == (10, True)
