"""A log keeps what was written: unchanged, apart from what a person may have forgotten."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import Connection
from ecommerce.messaging.services import service, services
from ecommerce.values import Address
from orders.contracts import CreateOrder, OrderCreated, OrderReserved, RequestedLine
from orders.models import CatalogueItem
from tests.messaging.examples import reserve
from tests.messaging.steps import append, fetch, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ADDRESS = Address("221B Baker Street", "London", "", "NW1", "GB")


CHANGES = [
    "UPDATE {} SET payload = '{{}}'",
    'UPDATE {} SET personal = \'{{"name": "somebody else"}}\'',
    "UPDATE {} SET personal = NULL, actor = 'nobody'",
    "UPDATE {} SET position = position + 1",
    "DELETE FROM {}",
]


@pytest.mark.parametrize("label", [each.label for each in services()])
def test_a_log_refuses_to_be_changed(label: str, connection: Callable[[], Connection]) -> None:
    conn, table = connection(), service(label).tables.log._meta.db_table
    append(conn, label, reserve("o1"))
    before = conn.execute(f"SELECT * FROM {table}").fetchall()

    for change in CHANGES:
        with pytest.raises(psycopg.errors.IntegrityError, match=f"{table} is append-only"):
            conn.execute(change.format(table))

    assert conn.execute(f"SELECT * FROM {table}").fetchall() == before


@pytest.fixture
def placed() -> None:
    CatalogueItem.objects.create(
        tenant="main", product_id="mouse", name="Mouse", price=1999, currency="USD"
    )
    command = CreateOrder(
        order_id="o1", customer_id="cust-123", shipping_address=ADDRESS,
        lines=(RequestedLine(product_id="mouse", quantity=1),),
    )  # fmt: skip
    execute(command, tenant="main", actor="user:1")


@pytest.mark.usefixtures("placed")
def test_personal_fields_stand_in_a_column_of_their_own() -> None:
    query = "SELECT payload, personal, person FROM {log} WHERE name = 'orders.OrderCreated'"
    ((payload, personal, person),) = fetch("orders", query)

    assert "Baker" not in payload
    assert "shipping_address" not in payload
    assert "221B Baker Street" in personal
    assert person == "cust-123"


@pytest.mark.usefixtures("placed")
def test_only_the_personal_column_may_be_cleared() -> None:
    created, *_ = written("orders")
    assert isinstance(created, OrderCreated)
    assert created.shipping_address == ADDRESS

    fetch("orders", "UPDATE {log} SET personal = NULL WHERE person = 'cust-123' RETURNING 1")

    assert fetch("orders", "SELECT count(*) FROM {log} WHERE personal IS NOT NULL") == [(0,)]
    created, *_ = written("orders")
    assert isinstance(created, OrderCreated)
    assert created.shipping_address is None


def test_events_are_numbered_in_their_stream_and_commands_are_not() -> None:
    first, second = OrderReserved(order_id="o1"), OrderReserved(order_id="o2")
    write("orders", first, second, reserve("o1"), first)
    write("orders", first)
    write("orders", first, tenant="other")

    query = "SELECT tenant, stream, version FROM {log} ORDER BY position"
    assert fetch("orders", query) == [
        ("main", "order/o1", 1),
        ("main", "order/o2", 1),
        ("main", "order/o1", None),
        ("main", "order/o1", 2),
        ("main", "order/o1", 3),
        ("other", "order/o1", 1),
    ]


def test_two_writers_cannot_give_a_stream_the_same_version(
    connection: Callable[[], Connection],
) -> None:
    conn = connection()
    append(conn, "orders", OrderReserved(order_id="o1"))
    columns = "message_id, tenant, stream, partition, name, contract, payload, correlation_id"
    with pytest.raises(psycopg.errors.UniqueViolation, match="orders_one_event_per_version"):
        conn.execute(
            f"INSERT INTO orders_log ({columns}, actor, recorded_at, version) "
            f"SELECT {columns}, actor, recorded_at, version FROM orders_log"
        )
