"""A handler that raises costs nobody else anything, and its own stream only time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_django.fixtures import Settings

from ecommerce.messaging.database import connect
from ecommerce.messaging.policies import Policy
from ecommerce.messaging.registry import handles
from inventory.contracts import AdjustInventory, InventoryRestocked
from inventory.models import InventoryLevel, StockItem
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product, restocked
from tests.messaging.steps import Puppet, fetch, in_service, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PARKED = 'SELECT handler, stream, attempts FROM "{parked}" ORDER BY id'


@pytest.fixture
def faults() -> set[int]:
    """The quantities at which the handler `analytics.note` raises."""
    raises: set[int] = set()

    @handles(retry=(30, 60))
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        if event.quantity in raises:
            raise ValueError(f"cannot note {event.quantity}")
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    @handles
    @in_service("analytics")
    def other(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="other")

    return raises


def seen(reason: str = "note") -> list[tuple[str, int]]:
    """What a handler has caused, in order."""
    caused = [message for message in written("analytics") if isinstance(message, AdjustInventory)]
    return [(each.product_id, each.change) for each in caused if each.reason == reason]


def fails_until_it_is_given_up(worker: Puppet, clock: Clock) -> list[int]:
    """The seconds before each further attempt of a delivery that always fails, to five."""
    write("inventory", restocked("a", 1))
    worker.work()
    waited: list[int] = []
    seconds = 0
    while fetch("analytics", PARKED):
        seconds += 5
        clock.advance(5)
        worker.hold()
        if worker.retry():
            waited.append(seconds)
            seconds = 0
    return waited


@pytest.fixture
def failing() -> None:
    @handles
    @in_service("analytics")
    def fail(event: InventoryRestocked) -> None:
        raise ValueError("never")


@pytest.mark.usefixtures("failing")
def test_a_delivery_is_tried_ten_times_with_pauses_that_double_up_to_five_minutes(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    waited = fails_until_it_is_given_up(puppet("analytics"), clock)

    assert waited == [30, 60, 120, 240, 300, 300, 300, 300, 300]
    query = 'SELECT handler, attempts, reason FROM "{dead}"'
    assert fetch("analytics", query) == [("analytics.fail", 10, "attempts")]


def test_a_setting_and_a_policy_change_the_pauses(
    puppet: Callable[..., Puppet],
    clock: Clock,
    settings: Settings,
    declare: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    settings.MESSAGING_RETRY = (5, 20)
    request.getfixturevalue("failing")
    worker = puppet("analytics")
    assert fails_until_it_is_given_up(worker, clock) == [5, 20]

    declare(Policy(name="patient", messages=(InventoryRestocked,), retry=(10, 10, 15)))
    write("inventory", restocked("b", 1))

    assert fails_until_it_is_given_up(worker, clock)[-3:] == [10, 10, 15]


def test_a_failing_delivery_holds_back_its_own_stream_for_its_handler_only(
    puppet: Callable[..., Puppet], faults: set[int]
) -> None:
    faults.add(13)
    write("inventory", restocked("a", 1), restocked("b", 5), restocked("a", 13))
    write("inventory", restocked("a", 2), restocked("b", 6))

    puppet("analytics").work()

    assert seen() == [("a", 1), ("b", 5), ("b", 6)]
    assert seen("other") == [("a", 1), ("b", 5), ("a", 13), ("a", 2), ("b", 6)]
    assert fetch("analytics", PARKED) == [
        ("analytics.note", "product/a", 1),
        ("analytics.note", "product/a", 0),
    ]


def test_a_message_that_comes_later_waits_behind_a_parked_one(
    puppet: Callable[..., Puppet], faults: set[int]
) -> None:
    faults.add(13)
    worker = puppet("analytics")
    write("inventory", restocked("a", 13))
    worker.work()
    faults.clear()

    write("inventory", restocked("a", 2), restocked("b", 5))
    worker.work()

    assert seen() == [("b", 5)]
    assert [attempts for *_, attempts in fetch("analytics", PARKED)] == [1, 0]


def test_two_tenants_with_the_same_stream_do_not_hold_each_other_back(
    puppet: Callable[..., Puppet], faults: set[int]
) -> None:
    faults.add(13)
    write("inventory", restocked("a", 13), restocked("a", 1))
    write("inventory", restocked("a", 2), tenant="other")

    puppet("analytics").work()

    assert seen() == [("a", 2)]


def test_a_parked_delivery_is_tried_again_when_due_and_then_its_followers_in_order(
    puppet: Callable[..., Puppet], faults: set[int], clock: Clock
) -> None:
    faults.add(13)
    worker = puppet("analytics")
    write("inventory", restocked("a", 13), restocked("a", 2), restocked("a", 3))
    worker.work()
    faults.clear()

    clock.advance(29)
    worker.hold()
    assert worker.retry() == 0
    worker.hold()
    clock.advance(2)
    worker.work()
    worker.retry()

    assert seen() == [("a", 13), ("a", 2), ("a", 3)]
    assert fetch("analytics", PARKED) == []


def test_back_off_grows_and_the_last_attempt_ends_as_a_dead_letter(
    puppet: Callable[..., Puppet], faults: set[int], clock: Clock
) -> None:
    faults.add(13)
    worker = puppet("analytics")
    write("inventory", restocked("a", 13), restocked("a", 2))
    worker.work()

    attempts = []
    for wait in (30, 60):
        clock.advance(wait - 2)
        worker.work()
        assert worker.retry() == 0
        clock.advance(2)
        worker.work()
        worker.retry()
        attempts.append([attempts for *_, attempts in fetch("analytics", PARKED)])

    assert attempts == [[2, 0], []]
    query = 'SELECT handler, name, attempts, reason, error FROM "{dead}"'
    ((handler, name, tries, reason, error),) = fetch("analytics", query)
    assert (handler, name) == ("analytics.note", "inventory.InventoryRestocked")
    assert (tries, reason) == (3, "attempts")
    assert "cannot note 13" in error
    assert seen() == [("a", 2)]
    assert fetch("analytics", PARKED) == []


def test_each_attempt_is_logged_with_its_outcome(
    puppet: Callable[..., Puppet], faults: set[int], clock: Clock
) -> None:
    faults.add(13)
    worker = puppet("analytics")
    write("inventory", restocked("a", 13), restocked("a", 2))
    worker.work()
    faults.clear()
    clock.advance(30)
    worker.work()
    worker.retry()

    query = 'SELECT outcome, attempt FROM "{delivery}" WHERE handler = %b ORDER BY id'
    assert fetch("analytics", query, "analytics.note") == [
        ("failed", 1),
        ("done", 2),
        ("done", 1),
    ]


def test_more_failures_than_are_worth_starting_over_for_are_found_one_by_one(
    puppet: Callable[..., Puppet], faults: set[int]
) -> None:
    faults.update(range(100, 125))
    for number in range(25):
        write("inventory", restocked(f"p{number}", number), restocked(f"p{number}", 100 + number))

    puppet("analytics").work()

    assert seen() == [(f"p{number}", number) for number in range(25)]
    assert fetch("analytics", PARKED) == [
        ("analytics.note", f"product/p{number}", 1) for number in range(25)
    ]
    assert len(seen("other")) == 50


@pytest.mark.parametrize(
    "damage", ["contract = 99", """payload = '{"quantity": "many"}'"""], ids=["version", "payload"]
)
def test_a_message_that_no_code_can_read_is_a_dead_letter_at_once(
    puppet: Callable[..., Puppet], faults: set[int], damage: str
) -> None:
    position, _ = write("inventory", restocked("a", 1), restocked("a", 2))
    with connect("default") as conn:
        conn.execute("SET session_replication_role = replica")  # or the log's trigger refuses
        conn.execute(f"UPDATE inventory_log SET {damage} WHERE position = {position}")

    worker = puppet("analytics")
    worker.work()
    worker.retry()

    dead = fetch("analytics", 'SELECT handler, reason FROM "{dead}" ORDER BY handler')
    assert dead == [("analytics.note", "unreadable"), ("analytics.other", "unreadable")]
    assert seen() == [("a", 2)]


def test_what_a_handler_changed_before_it_raised_leaves_no_trace(
    puppet: Callable[..., Puppet],
) -> None:
    @handles
    @in_service("inventory")
    def count(event: InventoryRestocked, stock: StockItem) -> None:
        stock.reserved += 1
        if event.quantity == 13:
            stock.reserved = 999
            raise ValueError

    for product in ("a", "b"):
        create_product(product, stock=100)
    write("inventory", restocked("a", 13), restocked("b", 1))

    puppet("inventory").work()

    rows = StockItem.objects.order_by("product_id").values_list("product_id", "reserved")
    assert list(rows) == [("a", 1), ("b", 2)]
    levels = InventoryLevel.objects.order_by("product_id").values_list("product_id", "quantity")
    assert list(levels) == [("a", 113), ("b", 101)]
