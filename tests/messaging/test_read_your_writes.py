"""Whoever changed something can wait until a read model shows it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from django.conf import settings

from ecommerce.messaging.bus import execute
from ecommerce.messaging.consistency import Sight, read_token, token_for, wait_for
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
from tests.messaging.steps import PATIENCE, Puppet, fetch, in_service, until, write

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

    assert not wait_for("inventory", token, tenant="main", timeout=0)
    worker.work()
    assert wait_for("inventory", token, tenant="main", timeout=0)
    assert shown() == 5


def test_a_reader_waits_while_a_worker_delivers(puppet: Callable[..., Puppet]) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    token = restock()
    answers: list[Sight] = []
    waiting = threading.Thread(
        target=lambda: answers.append(wait_for("inventory", token, tenant="main", timeout=PATIENCE))
    )
    waiting.start()

    worker.work()
    waiting.join()

    assert answers == [Sight.SEEN]


def test_waiting_has_an_end() -> None:
    create_product("mouse")
    assert not wait_for("inventory", restock(), tenant="main", timeout=0.05)


def test_work_left_in_other_partitions_is_not_waited_for(puppet: Callable[..., Puppet]) -> None:
    create_product("mouse")
    create_product("keyboard")
    ours, others = (partition_of("main", f"product/{p}", 64) for p in ("mouse", "keyboard"))
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

    assert wait_for("inventory", token, tenant="main", timeout=0)
    assert not wait_for("inventory", other, tenant="main", timeout=0)


def test_what_does_not_concern_a_reader_is_not_waited_for() -> None:
    create_product("mouse")
    assert wait_for("shipping", restock(), tenant="main", timeout=0)


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

    assert not wait_for("analytics", token, tenant="main", timeout=0)
    relay.copy()
    assert not wait_for("analytics", token, tenant="main", timeout=0)
    worker.work()
    assert wait_for("analytics", token, tenant="main", timeout=0)


@pytest.fixture
def faults() -> list[Exception]:
    """What a handler of inventory raises, one after the other, at each restocking."""
    raised: list[Exception] = []

    @handles(retry=(30,))
    @in_service("inventory")
    def note(event: InventoryRestocked) -> None:
        if raised:
            raise raised.pop()

    return raised


def test_a_failed_delivery_ends_the_wait_at_once(
    puppet: Callable[..., Puppet], clock: Clock, faults: list[Exception]
) -> None:
    create_product("mouse")
    create_product("keyboard")
    worker = puppet("inventory")
    token, other = restock("mouse"), restock("keyboard")
    faults.append(ValueError("not yet"))
    worker.work()

    # when somebody waits for much longer than the test may take
    began = time.monotonic()
    sight = wait_for("inventory", token, tenant="main", timeout=PATIENCE)

    # then the answer says why, at once; and the other stream is shown
    assert (sight, bool(sight)) == (Sight.FAILED, False)
    assert time.monotonic() - began < 2
    assert wait_for("inventory", other, tenant="main", timeout=0) is Sight.SEEN

    # and after the retry it is seen
    clock.advance(30)
    worker.work()
    worker.retry()
    assert wait_for("inventory", token, tenant="main", timeout=0) is Sight.SEEN


def test_a_write_before_the_failed_one_has_been_seen(
    puppet: Callable[..., Puppet], faults: list[Exception]
) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    before = restock()
    worker.work()
    faults.append(ValueError("not yet"))
    after = restock()
    worker.work()

    assert wait_for("inventory", before, tenant="main", timeout=0) is Sight.SEEN
    assert wait_for("inventory", after, tenant="main", timeout=0) is Sight.FAILED


def test_what_is_dead_has_not_been_seen(
    puppet: Callable[..., Puppet], clock: Clock, faults: list[Exception]
) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    token = restock()
    faults += [ValueError("never"), ValueError("not yet")]
    worker.work()
    clock.advance(31)
    worker.hold()
    worker.retry()

    assert fetch("inventory", 'SELECT count(*) FROM "{dead}"') == [(1,)]
    assert wait_for("inventory", token, tenant="main", timeout=PATIENCE) is Sight.FAILED


def test_a_failure_in_another_database_ends_the_wait_too(
    elsewhere: Elsewhere, puppet: Callable[..., Puppet], connection: Callable[[], Connection]
) -> None:
    @handles(retry=(30,))
    @in_service("analytics")
    def fail(event: InventoryRestocked) -> None:
        raise ValueError("not yet")

    elsewhere.move("analytics")
    worker = puppet("analytics")
    create_product("mouse")
    token = restock()
    names = worker.drain.names["inbox"]
    Relay(service("inventory"), worker.service, connection(), worker.conn, names).copy()
    worker.work()

    assert wait_for("analytics", token, tenant="main", timeout=PATIENCE) is Sight.FAILED


def test_a_worker_in_another_process_is_waited_for() -> None:
    create_product("mouse")
    token = restock()
    worker = subprocess.Popen(
        [sys.executable, settings.BASE_DIR / "manage.py", "runworker", "--services", "inventory"],
        env=dict(os.environ),
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: wait_for("inventory", token, tenant="main", timeout=1))
        assert shown() == 5
    finally:
        worker.terminate()
        worker.wait(PATIENCE)


def test_a_later_message_of_the_stream_does_not_have_to_be_seen(
    puppet: Callable[..., Puppet],
) -> None:
    create_product("mouse")
    worker = puppet("inventory")
    token = restock()
    worker.work()
    write("inventory", restocked("mouse", 1))

    assert wait_for("inventory", token, tenant="main", timeout=0)


@pytest.mark.parametrize("token", ["", "no token", "WyJub2JvZHkiXQ", "WyJ4IiwibWFpbiIsInMiLDFd"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="not a consistency token"):
        read_token(token)
