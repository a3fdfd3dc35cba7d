"""A letter at the desk: why it is there, and what a retry of a delivery does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce.messaging import desk
from ecommerce.messaging.causes import causes
from ecommerce.messaging.database import connect
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.errors import Conflict, NotFound
from ecommerce.messaging.models import uuid7
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.letters import (
    ANALYTICS,
    Faults,
    bury,
    due_in,
    failing_handler,
    letters,
    noted,
    one,
    send_out,
    states,
    trail,
)
from tests.messaging.steps import Puppet, counts, fetch, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_letters_that_died_of_the_same_thing_have_one_cause(worker: Puppet, faults: Faults) -> None:
    bury(worker, faults, 13, 14, product="apple")
    bury(worker, faults, 15, product="pear")

    (cause,) = causes(ANALYTICS)

    assert (cause.handler, cause.reason, cause.letters) == ("analytics.note", "attempts", 3)
    assert cause.error.startswith("ValueError: cannot note")


def test_a_retry_that_succeeds_resolves_its_letter_in_the_same_commit(
    worker: Puppet, faults: Faults
) -> None:
    # given a letter, and its cause mended
    (letter,) = bury(worker, faults, 13)
    faults.quantities.clear()

    # when it is retried
    assert desk.retry(one(letter), actor="user:1", note="mended") == 1
    assert states() == ["retrying"]
    assert send_out() == 1
    worker.hold()
    worker.retry()

    # then its effect is there, once, and the letter says who did what
    assert noted() == [("a", 13)]
    assert states() == ["resolved"]
    assert counts("analytics")["parked"] == 0
    assert trail(letter) == [("died", "worker"), ("retry", "user:1"), ("resolved", "worker")]
    log = "SELECT outcome FROM {delivery} WHERE handler = 'analytics.note' ORDER BY id"
    assert fetch("analytics", log) == [("failed",), ("done",)]


def test_a_retry_that_fails_is_the_same_letter_again_after_one_attempt(
    worker: Puppet, faults: Faults
) -> None:
    (letter,) = bury(worker, faults, 13)

    desk.retry(one(letter), actor="user:1")
    send_out()
    worker.hold()
    worker.retry()

    (again,) = letters()
    assert (again.pk, again.state, again.redrives) == (letter.pk, "waiting", 1)
    assert again.dead_at > letter.dead_at
    assert counts("analytics")["parked"] == 0
    assert trail(letter) == [("died", "worker"), ("retry", "user:1"), ("died", "worker")]
    assert noted() == []


def test_a_retried_delivery_comes_after_what_has_gone_on_and_before_what_comes(
    worker: Puppet, faults: Faults
) -> None:
    # given a letter, and a later message of its stream that was not held back by it
    (letter,) = bury(worker, faults, 13)
    write("inventory", restocked("a", 1))
    worker.work()
    faults.quantities.clear()

    # when it is sent out, and another message comes before it has run
    desk.retry(one(letter), actor="user:1")
    send_out()
    write("inventory", restocked("a", 2))
    worker.work()
    worker.retry()

    # then the newest waits for it
    assert noted() == [("a", 1), ("a", 13), ("a", 2)]


def test_a_retry_waits_behind_what_is_parked_of_its_stream(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    # given a letter, and a later message of its stream that will be tried again in a while
    faults = failing_handler(retry=(30,))
    worker = puppet("analytics")
    bury(worker, faults, 13)
    clock.advance(31)
    worker.hold()
    worker.retry()
    bury(worker, faults, 14)
    faults.quantities.clear()

    # when the letter is sent out, then it runs after the other
    desk.retry(ANALYTICS, actor="user:1")
    send_out()
    worker.retry()
    assert noted() == []
    clock.advance(31)
    worker.hold()
    worker.retry()
    assert noted() == [("a", 14), ("a", 13)]


def test_letters_of_one_stream_that_are_retried_together_keep_their_order(
    worker: Puppet, faults: Faults
) -> None:
    bury(worker, faults, 13, 14, 15)
    faults.quantities.clear()

    assert desk.retry(ANALYTICS, actor="user:1") == 3
    send_out()
    worker.hold()
    worker.retry()

    assert noted() == [("a", 13), ("a", 14), ("a", 15)]


def test_a_retry_with_a_rate_sends_so_many_a_second(
    worker: Puppet, faults: Faults, clock: Clock
) -> None:
    bury(worker, faults, *range(10, 20))

    assert desk.retry(ANALYTICS, actor="user:1", rate=0.5) == 10

    assert [round(seconds) for seconds in due_in()] == [2 * place for place in range(10)]
    assert send_out() == 1
    clock.advance(5)
    assert send_out() == 2


def test_two_desks_with_a_rate_stand_in_one_line(worker: Puppet, faults: Faults) -> None:
    bury(worker, faults, 13, 14)
    bury(worker, faults, 15, 16, product="b")
    cause_a, cause_b = letters()[:2], letters()[2:]

    for each in (cause_a, cause_b):
        ids = tuple(letter.pk for letter in each)
        desk.retry(Selection(service="analytics", ids=ids), actor="user:1", rate=0.1)

    assert [round(seconds) for seconds in due_in()] == [0, 10, 20, 30]


def test_what_is_in_line_can_be_held_and_what_is_sent_cannot(
    worker: Puppet, faults: Faults
) -> None:
    first, second = bury(worker, faults, 13, 14)
    desk.retry(ANALYTICS, actor="user:1", rate=0.1)
    send_out()

    assert [desk.hold(one(each), actor="user:2") for each in (first, second)] == [0, 1]
    assert states() == ["retrying", "held"]
    assert letters()[1].due_at is None


def test_a_decision_by_query_leaves_held_letters_alone_unless_it_names_their_state(
    worker: Puppet, faults: Faults
) -> None:
    first, _ = bury(worker, faults, 13, 14)
    desk.hold(one(first), actor="user:1")

    assert desk.retry(ANALYTICS, actor="user:1") == 1
    assert states() == ["held", "retrying"]
    assert desk.retry(Selection(service="analytics", state="held"), actor="user:1") == 1


def test_a_letter_that_is_given_up_stays_so_until_somebody_names_it(
    worker: Puppet, faults: Faults
) -> None:
    (letter,) = bury(worker, faults, 13)

    assert desk.give_up(one(letter), actor="user:1", note="a test order") == 1

    assert states() == ["given_up"]
    assert causes(ANALYTICS) == []
    assert desk.retry(ANALYTICS, actor="user:1") == 0
    assert desk.retry(one(letter), actor="user:1") == 1
    assert trail(letter)[1:] == [("give up", "user:1"), ("retry", "user:1")]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"handler": "analytics.note"}, 2),
        ({"handler": "analytics.other"}, 0),
        ({"reason": "attempts"}, 2),
        ({"reason": "refused"}, 0),
        ({"name": "inventory.InventoryRestocked"}, 2),
        ({"tenant": "other"}, 1),
        ({"state": "held"}, 0),
    ],
)
def test_letters_are_chosen_by_what_is_known_of_them(
    worker: Puppet, faults: Faults, wanted: dict[str, str], found: int
) -> None:
    bury(worker, faults, 13)
    bury(worker, faults, 14, tenant="other")

    assert desk.hold(Selection(**wanted), actor="user:1") == found  # type: ignore[arg-type]


def test_letters_are_chosen_by_when_they_died(worker: Puppet, faults: Faults, clock: Clock) -> None:
    (first,) = bury(worker, faults, 13)
    clock.advance(60)
    worker.hold()
    _, second = bury(worker, faults, 14)

    assert desk.hold(Selection(since=second.dead_at), actor="user:1") == 1
    assert desk.hold(Selection(since=first.dead_at), actor="user:1") == 1


def test_a_letter_whose_handler_is_gone_is_not_sent(worker: Puppet, faults: Faults) -> None:
    (letter,) = bury(worker, faults, 13)
    fetch("analytics", "UPDATE {dead} SET handler = 'analytics.gone' RETURNING 1")

    with pytest.raises(Conflict, match=r"no handler is named 'analytics.gone'"):
        desk.retry(one(letter), actor="user:1")

    assert desk.retry(ANALYTICS, actor="user:1") == 0
    assert states() == ["waiting"]


def test_a_service_or_letter_that_does_not_exist_is_not_found(db: None) -> None:
    with pytest.raises(NotFound):
        causes(Selection(service="sales"))
    with pytest.raises(NotFound):
        desk.find(Selection(service="analytics").services()[0], uuid7())


def test_a_letter_that_was_removed_by_hand_keeps_nobody_else_waiting(
    worker: Puppet, faults: Faults
) -> None:
    bury(worker, faults, 13)
    bury(worker, faults, 14, product="b")
    faults.quantities.clear()
    desk.retry(ANALYTICS, actor="user:1")
    send_out()
    with connect("default") as conn:
        conn.execute("DELETE FROM analytics_dead WHERE stream = 'product/a'")

    worker.hold()
    worker.retry()

    assert noted() == [("b", 14)]
    assert counts("analytics")["parked"] == 1
