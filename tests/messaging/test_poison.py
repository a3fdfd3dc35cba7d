"""A message that kills its worker is found, counted and given up; its neighbours are delivered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce.messaging.drain import MOST_DEATHS
from ecommerce.messaging.registry import handles
from inventory.contracts import AdjustInventory, InventoryRestocked
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.steps import Puppet, fetch, in_service, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

LEASE = 10
POISON = 13
IN_BATCHES = 2
"""Workers that die before anybody suspects a message: care begins at the second loss in a row."""


@pytest.fixture
def runs() -> list[int]:
    """The quantities that the handler `analytics.note` was called with, by any worker."""
    called: list[int] = []

    @handles(retry=(30,))
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        called.append(event.quantity)
        if event.quantity == POISON:
            raise SystemExit("killed")
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    return called


@pytest.fixture
def workers_until_it_ends(
    puppet: Callable[..., Puppet], clock: Clock
) -> Callable[[Callable[[Puppet], object]], int]:
    """Start one worker after the other, each when the leases of the last have run out, until one
    survives; return how many died."""

    def run(work: Callable[[Puppet], object]) -> int:
        for deaths in range(20):
            try:
                work(puppet("analytics"))
            except SystemExit:
                clock.advance(LEASE + 1)
            else:
                return deaths
        raise AssertionError("workers die of it for ever")

    return run


def noted() -> list[int]:
    return [
        message.change for message in written("analytics") if isinstance(message, AdjustInventory)
    ]


def test_a_message_that_kills_its_workers_ends_as_a_dead_letter(
    runs: list[int], workers_until_it_ends: Callable[[Callable[[Puppet], object]], int]
) -> None:
    quantities = [1, 2, POISON, 3, 4]
    write("inventory", *(restocked(f"p{q}", q) for q in quantities))

    deaths = workers_until_it_ends(Puppet.work)

    assert deaths == IN_BATCHES + MOST_DEATHS
    assert noted() == [1, 2, 3, 4]
    dead = fetch("analytics", 'SELECT stream, handler, reason, error FROM "{dead}"')
    error = f"it was under way when {MOST_DEATHS} workers died"
    assert dead == [("product/p13", "analytics.note", "killed-workers", error)]
    assert runs.count(POISON) == deaths
    assert runs.count(3) == 1


def test_the_stream_of_a_message_that_was_given_up_goes_on(
    runs: list[int], workers_until_it_ends: Callable[[Callable[[Puppet], object]], int]
) -> None:
    write("inventory", restocked("a", POISON), restocked("a", 1), restocked("a", 2))
    workers_until_it_ends(Puppet.work)
    assert noted() == [1, 2]


def test_a_worker_that_died_of_something_else_costs_its_batch_nothing(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    fatal = [True]

    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        if fatal and event.quantity == 2:
            fatal.clear()
            raise SystemExit("out of memory, of all things")
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    write("inventory", *(restocked(f"p{q}", q) for q in range(5)))
    with pytest.raises(SystemExit):
        puppet("analytics").work()
    clock.advance(LEASE + 1)
    heir = puppet("analytics")
    heir.work()

    assert noted() == [0, 1, 2, 3, 4]
    assert not heir.drain.leases.careful
    suspects = 'SELECT DISTINCT takeovers, suspect, suspect_attempts FROM "{partition}"'
    assert fetch("analytics", suspects) == [(0, None, 0)]
    assert fetch("analytics", 'SELECT count(*) FROM "{dead}"') == [(0,)]


def test_a_parked_message_that_kills_its_worker_when_tried_again_is_given_up_too(
    puppet: Callable[..., Puppet],
    clock: Clock,
    workers_until_it_ends: Callable[[Callable[[Puppet], object]], int],
) -> None:
    deadly: list[bool] = []

    @handles(retry=(30, 30))
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        if event.quantity == POISON:
            raise SystemExit("killed") if deadly else ValueError
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    write("inventory", restocked("a", POISON), restocked("b", 1), restocked("a", 2))
    first = puppet("analytics")
    first.work()
    first.release()
    deadly.append(True)
    clock.advance(30)

    def work(worker: Puppet) -> None:
        worker.hold()
        worker.retry()
        worker.work()
        worker.retry()

    deaths = workers_until_it_ends(work)

    assert deaths == IN_BATCHES + MOST_DEATHS
    assert noted() == [1, 2]
    assert fetch("analytics", 'SELECT stream FROM "{dead}"') == [("product/a",)]


def test_a_parked_message_that_fails_while_workers_die_of_other_things_has_all_its_attempts(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    @handles(retry=[30] * 6)
    @in_service("analytics")
    def note(event: InventoryRestocked) -> None:
        raise ValueError("no")

    write("inventory", restocked("a", 1))
    puppet("analytics").work()

    careful = []

    # when each worker is lost right after it has tried once more
    for _ in range(6):
        clock.advance(31)
        heir = puppet("analytics")
        heir.hold()
        assert heir.retry() == 1
        careful.append(heir.drain.leases.careful)

    # then the message is not taken for what they died of
    assert careful == [False, True, True, True, True, True]
    assert fetch("analytics", 'SELECT attempts, reason FROM "{dead}"') == [(7, "attempts")]
