"""A call that leaves the process: intent, call and answer, and a crash between any two of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

import psycopg
import pytest

from ecommerce.messaging.claims import CLAIM_SECONDS
from ecommerce.messaging.database import connect
from tests.messaging.calls import Caller, Gateway, answers, in_ledger, pay
from tests.messaging.conftest import Clock
from tests.messaging.steps import PATIENCE, Altered, counts, fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_an_intent_is_carried_out_after_its_commit_and_its_answer_recorded(
    caller: Callable[[str], Caller], gateway: Gateway
) -> None:
    pay()
    assert (gateway.calls, counts("payments")["effect"]) == (0, 1)

    caller("one").perform()

    assert answers() == [("o1", "approved")]
    assert counts("payments")["effect"] == 0
    query = 'SELECT handler, worker, outcome, attempt FROM "{delivery}" ORDER BY id DESC LIMIT 2'
    assert fetch("payments", query) == [
        ("payments.record_charge", "one", "done", 1),
        ("payments.charge_card", "one", "done", 1),
    ]


def test_no_transaction_is_open_while_a_call_runs(
    caller: Callable[[str], Caller], gateway: Gateway
) -> None:
    found: list[Any] = []
    query = (
        "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database() "
        "AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )
    gateway.before = lambda: found.append(fetch("payments", query))
    pay()

    caller("one").perform()

    assert found == [[]]


def test_a_crash_before_the_call_costs_time_only(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay()
    crashed, heir = caller("crashed"), caller("heir")
    assert len(crashed.effects._claim(crashed.conn, 1)) == 1

    clock.advance(CLAIM_SECONDS - 1)
    assert heir.perform() == 0
    clock.advance(2)
    assert heir.perform() == 1

    assert (answers(), in_ledger()) == ([("o1", "approved")], [("captured", 1)])


def test_a_crash_after_the_call_charges_once(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay()
    crashed, heir = caller("crashed"), caller("heir")
    crashed.start()
    wait(crashed.effects.in_flight)
    assert (answers(), in_ledger()) == ([], [("captured", 1)])

    clock.advance(CLAIM_SECONDS + 1)
    heir.perform()

    assert (answers(), in_ledger()) == ([("o1", "approved")], [("captured", 2)])


def test_an_answer_that_comes_after_the_claim_has_lapsed_is_dropped(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay()
    late, heir = caller("late"), caller("heir")
    late.start()
    wait(late.effects.in_flight)
    clock.advance(CLAIM_SECONDS + 1)
    late.record()
    assert answers() == []

    heir.perform()
    assert answers() == [("o1", "approved")]
    query = "SELECT worker FROM \"{delivery}\" WHERE handler = 'payments.charge_card'"
    assert fetch("payments", query) == [("heir",)]


def test_an_answer_is_recorded_although_the_connection_was_lost_meanwhile(
    caller: Callable[[str], Caller], gateway: Gateway
) -> None:
    pay()
    cut = caller("cut")
    cut.start()
    wait(cut.effects.in_flight)
    fetch("payments", f"SELECT pg_terminate_backend({cut.conn.info.backend_pid}, 5000)")
    with pytest.raises(psycopg.OperationalError):
        cut.effects.step(cut.conn)
    assert cut.effects.busy

    cut.conn = connect("default")
    cut.effects.step(cut.conn)

    assert (answers(), in_ledger()) == ([("o1", "approved")], [("captured", 1)])
    assert not cut.effects.busy


def late_failure(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock, guards: dict[str, str]
) -> int:
    """A worker whose claim has lapsed reports a failure while the next one is calling.

    Returns how many calls a third worker starts a little later.
    """
    pay(method="card_unavailable")
    late, heir, third = caller("late"), caller("heir"), caller("third")
    late.conn = Altered(late.conn, guards)  # type: ignore[assignment]
    late.start()
    wait(late.effects.in_flight)
    clock.advance(CLAIM_SECONDS + 1)
    go_on = threading.Event()
    gateway.before = lambda: go_on.wait(PATIENCE)
    heir.start()
    late.record()
    clock.advance(3)
    try:
        return third.start()
    finally:
        go_on.set()


def test_a_late_failure_does_not_take_the_claim_from_its_new_owner(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    assert late_failure(caller, gateway, clock, guards={}) == 0


def test_control_without_the_token_the_call_is_made_by_two_workers_at_once(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    assert late_failure(caller, gateway, clock, guards={"AND e.token = u.token": ""}) == 1
