"""What the database refuses is found message by message; faults of the machine use up nothing."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from ecommerce.messaging.database import Connection
from ecommerce.messaging.registry import handles
from inventory.contracts import InventoryRestocked
from inventory.models import InventoryLevel, Reservation, StockItem
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product, restocked
from tests.messaging.steps import Puppet, fetch, in_service, kill, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PARKED = 'SELECT handler, stream, attempts, left(error, 14) FROM "{parked}" ORDER BY id'


def level(product_id: str) -> int:
    """A product's quantity in the read model that the service's own projection keeps."""
    return InventoryLevel.objects.get(product_id=product_id).quantity


@pytest.fixture
def spoil() -> None:
    """A handler whose rows the database refuses for some quantities."""

    @handles(retry=(30, 60))
    @in_service("inventory")
    def spoil(event: InventoryRestocked, stock: StockItem) -> Reservation | None:
        stock.reserved += 1
        if event.quantity == 13:
            stock.reserved = stock.on_hand + 1
        if event.quantity == 14:
            return Reservation(order_id="taken", status="Released")
        return None


@pytest.fixture
def stock(spoil: None) -> None:
    for product in ("a", "b", "c"):
        create_product(product, stock=100)


@pytest.mark.usefixtures("stock")
@pytest.mark.parametrize(
    ("refused", "error"), [(13, "CheckViolation"), (14, "UniqueViolatio")], ids=["check", "unique"]
)
def test_only_what_the_database_refuses_is_parked(
    puppet: Callable[..., Puppet], refused: int, error: str
) -> None:
    Reservation.objects.create(tenant="main", order_id="taken", status="Reserved")
    write("inventory", restocked("a", 1), restocked("b", refused), restocked("c", 2))
    write("inventory", restocked("b", 3), restocked("a", 4))

    puppet("inventory").work()

    assert fetch("inventory", PARKED) == [
        ("inventory.spoil", "product/b", 1, error),
        ("inventory.spoil", "product/b", 0, "waits behind a"),
    ]
    rows = StockItem.objects.order_by("product_id").values_list("product_id", "reserved")
    assert list(rows) == [("a", 3), ("b", 1), ("c", 2)]
    assert [level(product) for product in "abc"] == [105, 103 + refused, 102]


@pytest.mark.usefixtures("stock")
def test_a_delivery_that_the_database_refuses_again_is_counted_and_ends_as_a_dead_letter(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    write("inventory", restocked("b", 13), restocked("b", 3))
    worker = puppet("inventory")
    worker.work()

    for wait in (30, 60):
        clock.advance(wait)
        worker.work()
        worker.retry()
    worker.retry()

    query = 'SELECT handler, attempts, reason FROM "{dead}"'
    assert fetch("inventory", query) == [("inventory.spoil", 3, "refused")]
    assert fetch("inventory", PARKED) == []
    assert StockItem.objects.get(product_id="b").reserved == 2


@pytest.mark.usefixtures("stock")
def test_a_refused_retry_does_not_keep_others_from_theirs(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    write("inventory", restocked("a", 13), restocked("b", 14))
    Reservation.objects.create(tenant="main", order_id="taken", status="Reserved")
    worker = puppet("inventory")
    worker.work()
    Reservation.objects.all().delete()

    clock.advance(30)
    worker.work()
    worker.retry()

    assert fetch("inventory", PARKED) == [("inventory.spoil", "product/a", 2, "CheckViolation")]
    assert Reservation.objects.count() == 1


@pytest.mark.usefixtures("stock")
def test_a_parked_delivery_whose_handler_is_gone_is_a_dead_letter_and_harms_no_other(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    write("inventory", restocked("a", 14), restocked("b", 14))
    Reservation.objects.create(tenant="main", order_id="taken", status="Reserved")
    worker = puppet("inventory")
    worker.work()
    Reservation.objects.all().delete()
    retire = "UPDATE {parked} SET handler = 'inventory.gone' WHERE stream = 'product/a' RETURNING 1"
    fetch("inventory", retire)

    clock.advance(30)
    worker.work()
    worker.retry()

    dead = fetch("inventory", 'SELECT handler, reason FROM "{dead}"')
    assert dead == [("inventory.gone", "unwired")]
    assert fetch("inventory", PARKED) == []
    assert Reservation.objects.count() == 1


def test_two_handlers_that_the_database_refuses_only_together_are_told_apart(
    puppet: Callable[..., Puppet],
) -> None:
    def hold(event: InventoryRestocked, stock: StockItem) -> None:
        stock.reserved += 60

    def hold_too(event: InventoryRestocked, stock: StockItem) -> None:
        stock.reserved += 60

    for handler in (hold, hold_too):
        handles(in_service("inventory")(handler))
    create_product("a")
    write("inventory", restocked("a", 1), restocked("b", 2))
    StockItem.objects.update(on_hand=100)

    puppet("inventory").work()

    held_back = ("inventory.hold_too", "product/a", 1, "CheckViolation")
    assert [row for row in fetch("inventory", PARKED) if row[1] == "product/a"] == [held_back]
    assert StockItem.objects.get().reserved == 60
    assert level("b") == 2


def test_a_connection_that_dies_in_the_middle_of_a_batch_costs_no_attempt_and_loses_nothing(
    puppet: Callable[..., Puppet],
) -> None:
    deaths: list[InventoryRestocked] = []

    @handles
    @in_service("inventory")
    def die(event: InventoryRestocked, stock: StockItem) -> None:
        stock.reserved += 1
        if not deaths:
            deaths.append(event)
            kill(worker.conn)

    worker = puppet("inventory")
    for product in ("a", "b"):
        create_product(product, stock=100)
    write("inventory", restocked("a", 1), restocked("b", 2))

    with pytest.raises(psycopg.OperationalError):
        worker.work()
    worker.reconnect()
    worker.work()

    assert [level("a"), level("b")] == [101, 102]
    rows = StockItem.objects.order_by("product_id").values_list("product_id", "reserved")
    assert list(rows) == [("a", 2), ("b", 2)]
    assert fetch("inventory", PARKED) == []
    assert fetch("inventory", "SELECT count(*) FROM \"{delivery}\" WHERE outcome <> 'done'") == [
        (0,)
    ]


@pytest.mark.usefixtures("stock")
def test_a_row_that_stays_locked_elsewhere_costs_no_attempt(
    puppet: Callable[..., Puppet], connection: Callable[[], Connection]
) -> None:
    worker, other = puppet("inventory"), connection()
    worker.work()
    worker.conn.execute("SET lock_timeout = '50ms'")
    write("inventory", restocked("a", 1), restocked("b", 2))

    with other.transaction():
        other.execute("SELECT FROM inventory_stockitem WHERE product_id = 'a' FOR UPDATE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            worker.work()
    worker.work()

    assert fetch("inventory", PARKED) == []
    assert [level("a"), level("b")] == [101, 102]
