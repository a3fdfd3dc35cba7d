"""Two people, or two workers, at the same letter: it is sent once, and a call moves money once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from ecommerce.messaging import desk, redrive
from ecommerce.messaging.database import Connection
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.services import service
from tests.messaging.calls import Caller, Gateway, answers, in_ledger, pay
from tests.messaging.conftest import Clock
from tests.messaging.letters import (
    Faults,
    bury,
    letters,
    noted,
    one,
    send_out,
    states,
    trail,
)
from tests.messaging.steps import PATIENCE, Altered, Puppet, counts, until, waiting

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Slow:
    """An operator who stops between choosing a letter and deciding about it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chosen = threading.Event()
        self.go_on = threading.Event()
        line_up = desk._line_up

        def line_up_slowly(*arguments: Any) -> None:
            if threading.current_thread().name == "slow":
                self.chosen.set()
                assert self.go_on.wait(PATIENCE)
            line_up(*arguments)

        monkeypatch.setattr(desk, "_line_up", line_up_slowly)


def retry_as(name: str, letter: DeadLetter) -> int:
    threading.current_thread().name = name
    try:
        return desk.retry(one(letter), actor=name)
    finally:
        connections.close_all()


def two_operators(
    worker: Puppet, faults: Faults, monkeypatch: pytest.MonkeyPatch, *, locking: bool
) -> int:
    """One retries a letter that another has chosen and not yet decided about.

    Returns how often its handler has run.
    """
    (letter,) = bury(worker, faults, 13)
    faults.quantities.clear()
    if not locking:
        monkeypatch.setattr(desk, "locked", lambda found: found)
    slow = Slow(monkeypatch)
    with ThreadPoolExecutor(2) as threads:
        second = threads.submit(retry_as, "slow", letter)
        assert slow.chosen.wait(PATIENCE)
        first = threads.submit(retry_as, "quick", letter)
        until(lambda: waiting("analytics") if locking else first.done())
        run_all(worker)
        slow.go_on.set()
        assert first.result(PATIENCE) + second.result(PATIENCE) == (1 if locking else 2)
    run_all(worker)
    return len(noted())


def run_all(worker: Puppet) -> None:
    send_out()
    worker.hold()
    worker.retry()


def test_two_operators_who_retry_a_letter_at_once_send_it_once(
    worker: Puppet, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert two_operators(worker, faults, monkeypatch, locking=True) == 1

    (letter,) = letters()
    assert (letter.state, letter.redrives) == ("resolved", 1)
    assert [action for action, _ in trail(letter)] == ["died", "retry", "resolved"]


def test_control_without_the_lock_the_handler_runs_twice(
    worker: Puppet, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert two_operators(worker, faults, monkeypatch, locking=False) == 2


# Workers


def two_workers(connection: Callable[[], Connection], guards: dict[str, str]) -> tuple[int, int]:
    """Two workers send what is due; the second asks while the first has not committed."""
    first, second = connection(), Altered(connection(), guards)
    with ThreadPoolExecutor(1) as threads, first.transaction():
        sent = redrive.send_due(first, service("payments"))
        asked = threads.submit(redrive.send_due, second, service("payments"))  # type: ignore[arg-type]
        if guards:
            until(lambda: waiting("payments"))
        else:
            assert asked.result(PATIENCE) == 0
        fetched = sent
    return fetched, asked.result(PATIENCE)


@pytest.fixture
def dead_charge(caller: Callable[[str], Caller], gateway: Gateway, clock: Clock) -> Caller:
    """A charge that was given up after the gateway had taken the money: no answer came through."""
    gateway.after = lambda: (_ for _ in ()).throw(ConnectionError("the answer is lost"))
    pay()
    one_caller = caller("one")
    for _ in range(4):
        assert one_caller.perform() == 1
        clock.advance(9)
    assert (states("payments"), answers()) == (["waiting"], [])
    gateway.after = lambda: None
    return one_caller


def test_a_retried_call_has_the_same_key_and_takes_the_money_once(
    dead_charge: Caller, gateway: Gateway
) -> None:
    (letter,) = letters("payments")

    desk.retry(one(letter), actor="user:1")
    assert send_out("payments") == 1
    dead_charge.perform()

    assert answers() == [("o1", "approved")]
    assert in_ledger() == [("captured", 5)]
    assert states("payments") == ["resolved"]
    assert counts("payments")["effect"] == 0
    assert trail(letter) == [("died", "one"), ("retry", "user:1"), ("resolved", "one")]


def test_a_retried_call_that_fails_again_is_the_same_letter(
    dead_charge: Caller, gateway: Gateway, clock: Clock
) -> None:
    gateway.after = lambda: (_ for _ in ()).throw(ConnectionError("the answer is lost"))
    (letter,) = letters("payments")

    desk.retry(one(letter), actor="user:1")
    send_out("payments")
    for _ in range(4):
        assert dead_charge.perform() == 1
        clock.advance(9)

    (again,) = letters("payments")
    assert (again.pk, again.state, again.redrives) == (letter.pk, "waiting", 1)
    assert counts("payments")["effect"] == 0


def test_two_workers_send_a_letter_once(
    dead_charge: Caller, connection: Callable[[], Connection]
) -> None:
    desk.retry(one(letters("payments")[0]), actor="user:1")

    assert two_workers(connection, guards={}) == (1, 0)
    assert counts("payments")["effect"] == 1


def test_control_two_workers_that_do_not_look_whether_it_is_taken_both_send_it(
    dead_charge: Caller, connection: Callable[[], Connection]
) -> None:
    desk.retry(one(letters("payments")[0]), actor="user:1")

    blind = {"FOR UPDATE SKIP LOCKED": "", "due_at <= messaging_now() AND": ""}
    assert two_workers(connection, blind) == (1, 1)
    # and even so there is one intent, because its id is the message's
    assert counts("payments")["effect"] == 1


def test_a_worker_that_lost_its_lease_resolves_nothing(
    worker: Puppet, faults: Faults, clock: Clock
) -> None:
    (letter,) = bury(worker, faults, 13)
    faults.quantities.clear()
    desk.retry(one(letter), actor="user:1")
    send_out()
    clock.advance(11)

    with pytest.raises(Exception, match="lost its partitions"):
        worker.retry()

    assert (states(), noted()) == (["retrying"], [])
    worker.hold()
    worker.retry()
    assert (states(), noted()) == (["resolved"], [("a", 13)])
