"""The workers' page: who works, who holds which partition, and what is parked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from ecommerce.messaging import fleet
from ecommerce.messaging.database import connect
from ecommerce.messaging.leases import LEASE_SECONDS
from ecommerce.messaging.services import service
from ecommerce.messaging.worker import Worker
from tests.admin import rows
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import Puppet

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/workers"
ONE, TWO = "vm:17:00000001", "vm:18:00000002"


@pytest.fixture
def puppet(transactional_db: None) -> Iterator[Callable[[str], Puppet]]:
    made: list[Puppet] = []

    def make(name: str) -> Puppet:
        made.append(Puppet("orders", name))
        return made[-1]

    yield make
    for each in made:
        each.conn.close()


def partitions(label: str = "orders") -> fleet.Partitions:
    (found,) = [each for each in fleet.fleet()[1] if each.service == label]
    return found


def members() -> dict[str, fleet.Member]:
    return {each.name: each for each in fleet.fleet()[0]}


def change(sql: str, *values: object) -> None:
    with connect("default") as conn:
        conn.execute(sql, values)


def test_partitions_are_shown_with_who_holds_them(puppet: Callable[[str], Puppet]) -> None:
    first, second = puppet(ONE), puppet(TWO)
    first.hold()
    second.hold()
    first.hold()
    second.hold()

    found = members()

    assert (found[ONE].held, found[TWO].held) == ({"orders": 32}, {"orders": 32})
    assert (found[ONE].host, found[ONE].process, found[ONE].state) == ("vm", "17", "alive")
    assert found[ONE].started_at is not None
    assert partitions().free == 0
    assert partitions("payments").free == 64


def test_a_worker_that_fell_silent_holds_nothing_once_its_leases_have_run_out(
    puppet: Callable[[str], Puppet],
) -> None:
    puppet(ONE).hold()
    late = f"make_interval(secs => {LEASE_SECONDS + 5})"
    change(f"UPDATE orders_worker SET heartbeat_at = heartbeat_at - {late}")
    change(f"UPDATE orders_partition SET expires_at = expires_at - {late}")

    found = members()[ONE]

    assert (found.state, found.total) == ("silent", 0)
    assert partitions().free == 64


def test_a_worker_that_signed_off_has_left(puppet: Callable[[str], Puppet]) -> None:
    worker = puppet(ONE)
    worker.hold()
    worker.release()

    assert members()[ONE].state == "left"


def test_a_worker_process_is_told_from_a_task(
    operator: Client, puppet: Callable[[str], Puppet]
) -> None:
    puppet(ONE).hold()
    task = Worker(["orders"])
    task.drain(10)

    assert {each.name: each.kind for each in members().values()} == {
        ONE: "process",
        task.name: "task",
    }
    text = operator.get(PAGE).content.decode()
    assert text.count('<td data-label="Kind">Process</td>') == 1
    assert text.count('<td data-label="Kind">Task</td>') == 1


def test_laggards_and_lost_holders_are_notable(puppet: Callable[[str], Puppet]) -> None:
    puppet(ONE).hold()
    assert partitions().notable == []

    change("""UPDATE orders_partition SET positions = '{"orders": 5000}' WHERE number <> 7""")
    change("""UPDATE orders_partition SET positions = '{"orders": 1}' WHERE number = 7""")
    change("UPDATE orders_partition SET takeovers = 2, suspect = 'orders 12' WHERE number = 9")

    assert [(each.number, each.behind, each.suspect) for each in partitions().notable] == [
        (7, 4999, None),
        (9, 0, "orders 12"),
    ]


def test_the_page_shows_strips_and_parked_deliveries(
    operator: Client, puppet: Callable[[str], Puppet]
) -> None:
    puppet(ONE).hold()
    parked = service("orders").tables.parked
    rows.make(parked, 1, error="  line 1\nValueError: too heavy\n", attempts=2)
    rows.make(parked, 2, tenant="other", error="ValueError: not for you", attempts=2)

    text = operator.get(PAGE).content.decode()

    assert ONE in text
    assert text.count('class="cell"') == 7 * 64
    assert text.count('class="cell" data-colour="0"') == 64
    assert "Orders: 64 partitions, 0 held by nobody" in text
    assert "ValueError: too heavy" in text
    assert "not for you" not in text


def test_a_shop_without_workers_says_how_to_start_one(operator: Client) -> None:
    assert "manage.py runworker" in operator.get(PAGE).content.decode()


def test_the_page_costs_the_same_however_much_there_is(
    operator: Client, puppet: Callable[[str], Puppet]
) -> None:
    operator.get(PAGE)
    with counted() as few:
        operator.get(PAGE)
    open_shop()
    place("one")
    settle()
    puppet(ONE).hold()
    puppet(TWO).hold()
    with counted() as many:
        operator.get(PAGE)

    assert len(many) == len(few) <= 15
