"""Whoever appends to a log holds its shared lock, or a reader could pass a late commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from ecommerce.messaging.bus import execute
from ecommerce.messaging.context import Context
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.registry import Later, handles
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.services import service, services
from ecommerce.messaging.worker import Worker
from inventory.contracts import AdjustInventory, ProductCreated, StockCommitted
from orders.contracts import CreateOrder, ExpireOrder, RequestedLine
from payments.contracts import PaymentProcessed
from tests.messaging.conftest import Clock
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import create_product, reserve
from tests.messaging.steps import Altered, Puppet, append, counts, in_service, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

GUARD = """
    CREATE FUNCTION lock_is_held() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (
            SELECT FROM pg_locks
            WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ShareLock'
              AND (classid::bigint << 32) | objid::bigint = messaging_log_key(TG_TABLE_NAME)
        ) THEN
            RAISE EXCEPTION 'somebody writes % without its lock', TG_TABLE_NAME;
        END IF;
        RETURN NEW;
    END $$"""
WATCH = (
    "CREATE TRIGGER lock_is_held BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION lock_is_held()"
)


@contextmanager
def guarded(alias: str) -> Iterator[None]:
    """In a database, let every log and inbox refuse a writer that does not hold its lock."""
    with connect(alias) as conn:
        conn.execute(GUARD)
        for each in services():
            for table in (each.tables.log, each.tables.inbox):
                conn.execute(sql.SQL(WATCH).format(sql.Identifier(table._meta.db_table)))
    try:
        yield
    finally:
        with connect(alias) as conn:
            conn.execute("DROP FUNCTION lock_is_held CASCADE")


def order(order_id: str) -> None:
    line = RequestedLine(product_id="mouse", quantity=1)
    command = CreateOrder(order_id=order_id, customer_id="cust-123", lines=(line,))
    execute(command, tenant="main", actor="user:1")


def test_everybody_who_appends_to_a_log_holds_its_lock(clock: Clock) -> None:
    @handles
    @in_service("analytics")
    def remind(event: ProductCreated, context: Context) -> Later:
        command = AdjustInventory(product_id=event.product_id, change=1, reason="a timer")
        return Later(command, context.now)

    with guarded("default"):
        create_product("mouse", stock=10)
        Worker().drain(30)
        order("o1")
        Worker().drain(30)
        order("o2")
        clock.advance(16 * 60)
        Worker().drain(30)

    for label, kind in (
        ("analytics", AdjustInventory),  # the timers
        ("payments", PaymentProcessed),  # the effects
        ("orders", ExpireOrder),  # the deadlines
        ("inventory", StockCommitted),  # the deliveries, and before them the bus
    ):
        assert any(isinstance(message, kind) for message in written(label)), label


def test_the_relay_holds_the_lock_of_the_inbox(
    elsewhere: Elsewhere, puppet: Callable[..., Puppet], connection: Callable[[], Connection]
) -> None:
    elsewhere.move("inventory")
    worker = puppet("inventory")
    write("orders", reserve("o1"))
    names = worker.drain.names["inbox"]

    with guarded("elsewhere"):
        Relay(service("orders"), worker.service, connection(), worker.conn, names).copy()

    assert counts("inventory")["inbox"] == 1


def test_control_a_writer_without_the_lock_is_noticed(connection: Callable[[], Connection]) -> None:
    conn = Altered(
        connection(),
        {"pg_advisory_xact_lock_shared(messaging_log_key(%b::text))": "length(%b::text)"},
    )
    with (
        guarded("default"),
        pytest.raises(psycopg.errors.RaiseException, match="writes orders_log without its lock"),
    ):
        append(conn, "orders", reserve("o1"))  # type: ignore[arg-type]
