"""Whoever changed something can wait until a read model shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ecommerce.messaging.bus import execute
from ecommerce.messaging.consistency import read_token, token_for, wait_for
from ecommerce.messaging.database import Connection
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.messages import partition_of
from ecommerce.messaging.registry import handles
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.services import service
from inventory.contracts import InventoryRestocked, RestockInventory
from tests.messaging.conftest import Clock
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import create_product, restocked
from tests.messaging.steps import PATIENCE, Puppet, fetch, in_service, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def restock(product_id: str = "mouse", quantity: int = 5) -> str:
    command = RestockInventory(product_id=product_id, quantity=quantity)
    return execute(command, tenant="main", actor="user:1").token


def shown() -> int:
    query = "SELECT quantity FROM inventory_inventorylevel WHERE product_id = 'mouse'"
    ((quantity,),) = fetch("inventory", query)
    assert isinstance(quantity, int)
    return quantity


def test_a_reader_has_seen_a_write_when_its_partition_was_read_up_to_it(
    puppet: Callable[..., Puppet],
) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    token = restock()

    assert not wait_for("inventory", token, timeout=0)
    worker.work()
    assert wait_for("inventory", token, timeout=0)
    assert shown() == 5


def test_a_reader_waits_while_a_worker_delivers(puppet: Callable[..., Puppet]) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    token = restock()
    answers: list[bool] = []
    waiting = threading.Thread(
        target=lambda: answers.append(wait_for("inventory", token, PATIENCE))
    )
    waiting.start()

    worker.work()
    waiting.join()

    assert answers == [True]


def test_waiting_has_an_end() -> None:
    create_product("mouse")
    assert not wait_for("inventory", restock(), timeout=0.05)


def test_work_left_in_other_partitions_is_not_waited_for(puppet: Callable[..., Puppet]) -> None:
    create_product("mouse")
    create_product("keyboard")
    ours, others = (partition_of("main", f"product/{p}", 8) for p in ("mouse", "keyboard"))
    assert ours != others
    worker, stuck = puppet("inventory"), puppet("inventory")
    worker.hold()
    stuck.hold()
    worker.hold()
    stuck.hold()
    token, other = restock("mouse"), restock("keyboard")

    holder = worker if ours in worker.held else stuck
    holder.drain.leases.held = {ours: holder.drain.leases.held[ours]}
    while holder.step():
        pass

    assert wait_for("inventory", token, timeout=0)
    assert not wait_for("inventory", other, timeout=0)


def test_what_does_not_concern_a_reader_is_not_waited_for() -> None:
    create_product("mouse")
    assert wait_for("shipping", restock(), timeout=0)


def test_a_reader_in_another_database_has_seen_what_its_inbox_was_read_up_to(
    elsewhere: Elsewhere, puppet: Callable[..., Puppet], connection: Callable[[], Connection]
) -> None:

    elsewhere.move("analytics")
    worker = puppet("analytics")
    create_product("mouse")
    ((position,),) = fetch(
        "inventory", "SELECT position FROM \"{log}\" WHERE name = 'inventory.ProductCreated'"
    )
    token = token_for("inventory", "main", "product/mouse", position)
    names = worker.drain.names["inbox"]
    relay = Relay(service("inventory"), worker.service, connection(), worker.conn, names)

    assert not wait_for("analytics", token, timeout=0)
    relay.copy()
    assert not wait_for("analytics", token, timeout=0)
    worker.work()
    assert wait_for("analytics", token, timeout=0)


def test_what_is_parked_has_not_been_seen(puppet: Callable[..., Puppet], clock: Clock) -> None:
    faults = [ValueError("not yet")]

    @handles(retry=(30,))
    @in_service("inventory")
    def fail_once(event: InventoryRestocked) -> None:
        if faults:
            raise faults.pop()

    create_product("mouse")
    create_product("keyboard")
    worker = puppet("inventory")
    token, other = restock("mouse"), restock("keyboard")
    worker.work()

    assert not wait_for("inventory", token, timeout=0)
    assert wait_for("inventory", other, timeout=0)
    clock.advance(30)
    worker.work()
    worker.retry()
    assert wait_for("inventory", token, timeout=0)


def test_a_later_message_of_the_stream_does_not_have_to_be_seen(
    puppet: Callable[..., Puppet],
) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    token = restock()
    worker.work()
    write("inventory", restocked("mouse", 1))

    assert wait_for("inventory", token, timeout=0)


@pytest.mark.parametrize("token", ["", "no token", "WyJub2JvZHkiXQ", "WyJ4IiwibWFpbiIsInMiLDFd"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="not a consistency token"):
        read_token(token)
