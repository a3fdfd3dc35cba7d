"""What is sent out again by itself, and how often."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from ecommerce.messaging import desk, redrive
from ecommerce.messaging.calls import MOST_LOST_CLAIMS
from ecommerce.messaging.claims import CLAIM_SECONDS
from ecommerce.messaging.database import connect
from ecommerce.messaging.reasons import REASONS
from ecommerce.messaging.services import service
from tests.messaging.calls import Caller, Gateway, answers, in_ledger, pay
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.letters import (
    ANALYTICS,
    Faults,
    bury,
    letters,
    noted,
    one,
    send_out,
    states,
    trail,
)
from tests.messaging.steps import Puppet, counts, fetch, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def try_again(worker: Puppet) -> int:
    sent = send_out()
    worker.hold()
    worker.retry()
    return sent


def test_policies_are_for_reasons_that_there_are() -> None:
    assert set(django_settings.MESSAGING_RETRY_DEAD) <= set(REASONS)


def test_a_reason_with_a_policy_is_retried_so_often_and_then_waits_for_people(
    worker: Puppet, faults: Faults, clock: Clock, settings: Settings
) -> None:
    settings.MESSAGING_RETRY_DEAD = {"attempts": (60, 600)}
    (letter,) = bury(worker, faults, 13)

    sent = []
    for seconds in (59, 2, 599, 2, 10_000):
        clock.advance(seconds)
        sent.append(try_again(worker))

    assert sent == [0, 1, 0, 1, 0]
    (letter,) = letters()
    assert (letter.state, letter.redrives, letter.due_at) == ("waiting", 2, None)
    assert [action for action in trail(letter) if action[0] == "retry"] == [("retry", "policy")] * 2


def test_a_policy_leaves_held_letters_alone(
    worker: Puppet, faults: Faults, clock: Clock, settings: Settings
) -> None:
    settings.MESSAGING_RETRY_DEAD = {"attempts": (60,)}
    (letter,) = bury(worker, faults, 13)
    desk.hold(one(letter), actor="user:1")
    clock.advance(61)

    assert send_out() == 0
    assert states() == ["held"]


def test_a_call_that_workers_were_lost_in_is_made_again_after_five_minutes(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay()
    one_caller = caller("one")
    for _ in range(MOST_LOST_CLAIMS):
        assert len(one_caller.effects._claim(one_caller.conn, 1)) == 1
        clock.advance(CLAIM_SECONDS + 1)
    one_caller.perform()
    (letter,) = letters("payments")
    assert (letter.reason, gateway.calls) == ("lost-calls", 0)

    clock.advance(299)
    assert send_out("payments") == 0
    clock.advance(2)
    assert send_out("payments") == 1
    one_caller.perform()

    assert (answers(), in_ledger()) == ([("o1", "approved")], [("captured", 1)])
    assert states("payments") == ["resolved"]


def spoil(version: int) -> None:
    with connect("default") as conn:
        conn.execute("SET session_replication_role = replica")  # or the log's trigger refuses
        conn.execute(f"UPDATE inventory_log SET contract = {version}")
        conn.execute(f"UPDATE analytics_dead SET contract = {version}")


def test_a_letter_that_could_not_be_read_is_sent_when_a_worker_begins_that_can_read_it(
    worker: Puppet, faults: Faults
) -> None:
    # given a message of a version that this code does not know
    write("inventory", restocked("a", 1))
    spoil(99)
    worker.work()
    (letter,) = letters(handler="analytics.note")
    assert letter.reason == "unreadable"

    # when a worker begins that does not know it either, then nothing is sent
    with connect("default") as conn:
        assert redrive.revive_readable(conn, service("analytics")) == 0

        # when one begins that knows it
        spoil(1)
        assert redrive.revive_readable(conn, service("analytics")) >= 1
    try_again(worker)

    # then it is delivered without anybody's doing
    assert noted() == [("a", 1)]
    assert trail(letter)[1:] == [("retry", "policy"), ("resolved", "worker")]


def test_a_long_line_is_not_sent_all_at_once_after_a_pause(
    worker: Puppet, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive, "MOST", 2)
    bury(worker, faults, 13, 14, 15)
    desk.retry(ANALYTICS, actor="user:1")

    assert [send_out() for _ in range(3)] == [2, 1, 0]


def test_a_letter_whose_handler_this_code_does_not_have_is_left_for_code_that_has(
    worker: Puppet, faults: Faults
) -> None:
    (letter,) = bury(worker, faults, 13)
    desk.retry(one(letter), actor="user:1")
    fetch("analytics", "UPDATE {dead} SET handler = 'analytics.newer' RETURNING 1")

    assert send_out() == 0
    assert states() == ["retrying"]


def test_letters_that_were_resolved_long_ago_are_forgotten_and_no_others(
    worker: Puppet, faults: Faults, clock: Clock
) -> None:
    done, _given_up, _held = bury(worker, faults, 13, 14, 15)
    desk.give_up(one(_given_up), actor="user:1")
    desk.hold(one(_held), actor="user:1")
    faults.quantities.clear()
    desk.retry(one(done), actor="user:1")
    try_again(worker)
    assert states() == ["resolved", "given_up", "held"]

    with connect("default") as conn:
        clock.advance(89 * 86400)
        redrive.forget_resolved(conn, service("analytics").tables)
        assert counts("analytics")["dead"] == 3
        clock.advance(2 * 86400)
        redrive.forget_resolved(conn, service("analytics").tables)

    assert states() == ["given_up", "held"]
    assert trail(done) == []
    assert len(trail(_held)) == 2
