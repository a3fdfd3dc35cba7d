"""Read models wait a moment for more to come, and nobody else waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ecommerce.messaging.drain import PLENTY
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.services import service
from inventory.apps import InventoryConfig
from inventory.contracts import CommitInventory
from inventory.models import InventoryLevel
from tests.messaging.examples import restocked
from tests.messaging.steps import PATIENCE, fetch, write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lane() -> Iterator[Lane]:
    """A worker of the service whose stock levels are shown, with nothing left to do."""
    made = Lane("default", [service("inventory")], "worker", {})
    while made.step():
        pass
    yield made
    made.disconnect()


def shown() -> int:
    return InventoryLevel.objects.count()


def commits() -> int:
    query = "SELECT count(DISTINCT delivered_at) FROM {delivery} WHERE handler LIKE '%%levels%%'"
    ((counted,),) = fetch("inventory", query)
    return int(counted)


def the_moment_is_over(lane: Lane) -> None:
    lane._gathering = dict.fromkeys(lane._gathering, time.monotonic())


def show_two(lane: Lane) -> None:
    """Two changes, the second after the worker has seen the first."""
    for product in ("a", "b"):
        write("inventory", restocked(product, 1))
        lane.step()
    the_moment_is_over(lane)
    lane.step()
    assert shown() == 2


def test_what_comes_within_a_moment_is_shown_by_one_commit(lane: Lane) -> None:
    lane.gather = PATIENCE

    show_two(lane)

    assert commits() == 1


def test_a_lane_that_does_not_gather_waits_for_nothing(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InventoryConfig, "patience", PATIENCE)

    show_two(lane)

    assert commits() == 2


def test_a_patient_service_gathers_what_its_handlers_want_too(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InventoryConfig, "patience", PATIENCE)
    lane.gather = 0.001
    for order in ("a", "b"):
        write("orders", CommitInventory(order_id=order, product_ids=()))
        assert lane.step() == 0

    the_moment_is_over(lane)
    assert lane.step() == 2


def test_who_gathers_does_not_begin_anew_when_the_lane_sweeps(lane: Lane) -> None:
    lane.gather = PATIENCE
    write("inventory", restocked("a", 1))
    assert lane.step() == 0
    (over,) = lane._gathering.values()

    lane._sweeping.last = lane._holding.last = float("-inf")
    assert lane.step() == 0

    assert list(lane._gathering.values()) == [over]


def test_control_an_impatient_one_delivers_at_once(lane: Lane) -> None:
    lane.gather = PATIENCE
    write("orders", CommitInventory(order_id="a", product_ids=()))

    assert lane.step() == 1


def test_plenty_does_not_wait(lane: Lane) -> None:
    lane.gather = PATIENCE
    write("inventory", *(restocked(f"p{number}", 1) for number in range(PLENTY)))

    assert lane.step() == PLENTY


def test_control_without_gathering_each_costs_a_commit(lane: Lane) -> None:
    show_two(lane)

    assert commits() == 2


def test_a_worker_that_gathers_rests_no_longer_than_that(lane: Lane) -> None:
    lane.gather = PATIENCE
    write("inventory", restocked("a", 1))

    assert lane.step() == 0
    assert (shown(), 0 < lane.gathering_seconds <= PATIENCE) == (0, True)

    the_moment_is_over(lane)
    assert lane.step() == 1
    assert (shown(), lane.gathering_seconds) == (1, float("inf"))


def test_what_a_lost_worker_left_does_not_wait(lane: Lane) -> None:
    lane.gather = PATIENCE
    (drain,) = lane.drains
    next(iter(drain.leases.held.values())).takeovers = 1
    write("inventory", restocked("a", 1))

    assert lane.step() == 1
    assert (shown(), drain.leases.taken_over) == (1, False)
