"""The ends of the logs are read once for all services, and nobody misses anything by that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from customers.models import Product
from ecommerce.messaging import batches, tails
from ecommerce.messaging.database import connect
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.log import Stored, read
from ecommerce.messaging.messages import partition_of
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.services import services
from ecommerce.messaging.tails import Tail
from inventory.models import InventoryLevel
from tests.messaging.examples import restocked
from tests.messaging.steps import append, fetch, write

pytestmark = pytest.mark.django_db(transaction=True)

LISTENING = ("customers", "inventory")
"""The services that want to know of a restocked product."""


@pytest.fixture
def lane() -> Iterator[Lane]:
    """All services in one worker, with nothing left to do."""
    made = Lane("default", services(), "worker", {})
    work(made)
    yield made
    made.disconnect()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each log was read from now on."""
    counted: Counter[str] = Counter()

    def counting(log: str, *arguments: Any) -> Any:
        counted[log] += 1
        return read(log, *arguments)

    monkeypatch.setattr(tails, "read", counting)
    monkeypatch.setattr(batches, "read", counting)
    return counted


def work(lane: Lane) -> None:
    while lane.step():
        pass


def deliveries() -> list[tuple[Any, ...]]:
    return [
        row
        for service in LISTENING
        for row in fetch(
            service, "SELECT handler, message_id FROM {delivery} WHERE handler NOT LIKE '%%ping'"
        )
    ]


def test_what_comes_is_read_once(lane: Lane, reads: Counter[str]) -> None:
    write("inventory", restocked("p1", 1))

    work(lane)

    assert len(deliveries()) == len(LISTENING)
    assert reads == {"inventory_log": 1}


def test_control_without_tails_each_service_reads_for_itself(
    lane: Lane, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_shared_tails", lambda: None)
    write("inventory", restocked("p1", 1))

    work(lane)

    assert reads["inventory_log"] > 1


def read_by_one_that_begins_beside_a_writer() -> int:
    """How many of the messages behind everybody, and the writer's one, a new worker reads."""
    made = Lane("default", services(), "new", {})
    log = made._tails.by_log["inventory_log"]
    with connect("default") as conn:
        with conn.transaction():
            append(conn, "inventory", restocked("a", 1))
            made.step()
        while made.step() or not log.messages:
            pass
    made.sign_off()
    return len(log.messages)


def test_a_worker_that_begins_beside_a_writer_reads_nothing_again(lane: Lane) -> None:
    write("inventory", *(restocked("a", number) for number in range(20)))
    work(lane)
    lane.sign_off()

    assert read_by_one_that_begins_beside_a_writer() == 1


def test_control_without_what_was_reached_it_reads_the_whole_log(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("inventory", *(restocked("a", number) for number in range(20)))
    work(lane)
    lane.sign_off()
    monkeypatch.setattr(Lane, "_recall_horizons", lambda _: None)

    assert read_by_one_that_begins_beside_a_writer() > 20


@pytest.mark.parametrize(("most", "kept"), [(500, 1000), (2, 3), (1, 1), (7, 20)])
def test_nobody_misses_anything(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, most: int, kept: int
) -> None:
    # given tails that are too short for what comes, and services that are slow in turns
    monkeypatch.setattr(tails, "MOST", most)
    monkeypatch.setattr(tails, "KEPT", kept)
    slow = lane.drains[0], lane.drains[-1]
    for number in range(60):
        write("inventory", restocked(f"p{number % 5}", number))
        if number % 10 == 0:
            lane.step()
        held, lane.drains = lane.drains, [d for d in lane.drains if d not in slow[: number % 3]]
        lane.step()
        lane.drains = held

    work(lane)

    # then each service has handled every message once
    found = deliveries()
    assert len(found) == len(set(found)) == 60 * len(LISTENING)
    quantities = [sum(range(first, 60, 5)) for first in range(5)]
    assert list(levels("quantity")) == quantities
    assert list(Product.objects.order_by("product_id").values_list("available", flat=True)) == (
        quantities
    )


def levels(column: str) -> Any:
    return InventoryLevel.objects.order_by("product_id").values_list(column, flat=True)


def test_a_busy_tenant_delays_few_of_the_others(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "MOST", 50)
    busy = [restocked(f"busy-{number}", 1) for number in range(4000)]
    quiet = [f"quiet-{number}" for number in range(20)]
    write("inventory", *busy, tenant="busy")
    for tenant in quiet:
        write("inventory", restocked("p1", 1), tenant=tenant)

    for _ in range(6):
        lane.step()

    taken = {partition_of("busy", f"product/{event.product_id}", 64) for event in busy}
    free = [t for t in quiet if partition_of(t, "product/p1", 64) not in taken]
    assert len(free) > len(quiet) / 2
    served = set(InventoryLevel.objects.values_list("tenant", flat=True))
    assert served >= set(free)
    assert InventoryLevel.objects.filter(tenant="busy").count() < len(busy)


def tail_of(*messages: Stored) -> Tail:
    names = sorted({message.name for message in messages})
    return Tail("inventory", "inventory_log", names, 0, 100, list(messages))


def message(position: int, partition: int, name: str = "inventory.InventoryRestocked") -> Stored:
    now: Any = None
    return Stored(
        position, uuid7(), "main", "product/p", partition, name, 1, "{}", None, None, uuid7(),
        None, "test", None, now,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("after", "limit", "positions", "end"),
    [
        ([0, 0], 9, [1, 2, 4], 100),
        ([1, 0], 9, [2, 4], 100),
        ([9, 9], 9, [], 100),
        ([0, 0], 3, [1, 2, 4], 100),
        ([0, 0], 2, [1, 2], 2),
    ],
)
def test_a_tail_gives_what_is_wanted_behind_each_partitions_position(
    after: Sequence[int], limit: int, positions: list[int], end: int
) -> None:
    tail = tail_of(message(1, 0), message(2, 1), message(3, 0, "other.Name"), message(4, 1))

    found, reached = tail.behind(after, {"inventory.InventoryRestocked"}, limit)

    assert [each.position for each in found] == positions
    assert reached == end
