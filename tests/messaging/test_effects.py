"""A call that leaves the process: intent, call and answer, and a crash between any two of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from ecommerce.messaging import registry
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import connect
from ecommerce.messaging.effects import CLAIM_SECONDS, Effects
from ecommerce.messaging.services import service
from ecommerce.values import Money
from orders.contracts import OrderReserved
from payments import gateways
from payments.contracts import ChargeCard, ProcessPayment, RecordCharge
from payments.gateways import Captured, Declined, SimulatedGateway
from payments.models import SimulatedCharge
from tests.messaging.conftest import Clock
from tests.messaging.steps import PATIENCE, Altered, counts, fetch, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Caller:
    """A worker's part that performs the effects of payments, moved by hand."""

    def __init__(self, name: str) -> None:
        self.conn = connect("default")
        self.pool = ThreadPoolExecutor(4)
        self.effects = Effects(service("payments"), name, self.pool, threading.Event())

    def start(self) -> int:
        """Claim what is due and start the calls; return how many there are."""
        self.effects.step(self.conn)
        return len(self.effects.in_flight)

    def record(self) -> None:
        """Wait until the calls have returned, and record their answers."""
        calls = set(self.effects.in_flight)
        assert not wait(calls, PATIENCE).not_done
        self.effects.finish(self.conn, PATIENCE)

    def perform(self) -> int:
        started = self.start()
        self.record()
        return started


@pytest.fixture
def caller(transactional_db: None) -> Iterator[Callable[[str], Caller]]:
    made: list[Caller] = []

    def make(name: str) -> Caller:
        made.append(Caller(name))
        return made[-1]

    yield make
    for each in made:
        each.pool.shutdown()
        each.conn.close()


class Gateway(SimulatedGateway):
    """The simulated gateway; the test says what happens around a call."""

    def __init__(self) -> None:
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.calls = 0

    def charge(self, key: str, amount: Money, method: str) -> Captured | Declined:
        self.calls += 1
        self.before()
        answer = super().charge(key, amount, method)
        self.after()
        return answer


@pytest.fixture
def gateway(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setitem(gateways._adapters, "watched", made)
    settings.PAYMENT_GATEWAY = "watched"
    return made


def pay(order_id: str = "o1", method: str = "card_approved") -> None:
    command = ProcessPayment(
        order_id=order_id, customer_id="cust-123", amount=Money(1999, "USD"), method=method
    )
    execute(command, tenant="main", actor="test")


def answers() -> list[tuple[str, str]]:
    return [(m.order_id, m.outcome) for m in written("payments") if isinstance(m, RecordCharge)]


def in_ledger() -> list[tuple[str, int]]:
    return list(SimulatedCharge.objects.order_by("key").values_list("state", "calls"))


def test_an_intent_is_carried_out_after_its_commit_and_its_answer_recorded(
    caller: Callable[[str], Caller], gateway: Gateway
) -> None:
    pay()
    assert (gateway.calls, counts("payments")["effect"]) == (0, 1)

    caller("one").perform()

    assert answers() == [("o1", "approved")]
    assert counts("payments")["effect"] == 0
    query = 'SELECT handler, worker, outcome, attempt FROM "{delivery}" ORDER BY id DESC LIMIT 1'
    assert fetch("payments", query) == [("payments.charge_card", "one", "done", 1)]


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


def test_a_transient_fault_is_tried_again_after_a_growing_wait(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay(method="card_error")
    one = caller("one")
    assert one.perform() == 1
    for seconds in (2, 4):
        clock.advance(seconds - 1)
        assert one.perform() == 0
        clock.advance(1)
        assert one.perform() == 1

    assert answers() == [("o1", "approved")]
    assert in_ledger() == [("captured", 3)]


def test_a_call_that_never_succeeds_ends_as_a_dead_letter(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay(method="card_unavailable")
    one = caller("one")
    for _ in range(4):
        assert one.perform() == 1
        clock.advance(9)

    assert one.perform() == 0
    assert answers() == []
    assert counts("payments")["effect"] == 0
    query = 'SELECT handler, attempts, reason, error FROM "{dead}"'
    ((handler, attempts, reason, error),) = fetch("payments", query)
    assert (handler, attempts, reason) == ("payments.charge_card", 4, "attempts")
    assert error.startswith("Retry: the charge")


def test_a_call_that_its_workers_do_not_survive_is_given_up(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay()
    one = caller("one")
    for _ in range(3):
        assert len(one.effects._claim(one.conn, 1)) == 1
        clock.advance(CLAIM_SECONDS + 1)

    one.perform()

    assert (gateway.calls, counts("payments")["effect"]) == (0, 0)
    ((error,),) = fetch("payments", 'SELECT error FROM "{dead}"')
    assert "3 workers were lost during this call" in error


def answer_with(function: Callable[[ChargeCard], Any]) -> None:
    """Let another function perform `ChargeCard`."""
    handler = registry.handler_named("payments.charge_card")
    registry._handlers[handler.name] = replace(handler, function=function)


def test_an_answer_that_cannot_be_stored_fails_by_itself(
    caller: Callable[[str], Caller], clock: Clock
) -> None:
    def charge(command: ChargeCard) -> RecordCharge | OrderReserved:
        if command.order_id == "bad":
            return OrderReserved(order_id=command.order_id)
        return RecordCharge(order_id=command.order_id, attempt=1, outcome="approved")

    answer_with(charge)
    for order in ("o1", "bad", "o2"):
        pay(order)
    one = caller("one")

    for _ in range(5):
        one.perform()
        clock.advance(9)

    assert sorted(answers()) == [("o1", "approved"), ("o2", "approved")]
    ((error,),) = fetch("payments", 'SELECT error FROM "{dead}"')
    assert "WiringError" in error


def spoil_intent(order_id: str, damage: str) -> None:
    stream = f"order/{order_id}"
    fetch("payments", f"UPDATE {{effect}} SET {damage} WHERE stream = %b RETURNING 1", stream)


def test_an_intent_that_no_code_can_read_is_a_dead_letter_and_harms_no_other(
    caller: Callable[[str], Caller],
) -> None:
    for order in ("bad", "o1"):
        pay(order)
    spoil_intent("bad", "contract = 99")

    caller("one").perform()

    assert answers() == [("o1", "approved")]
    assert fetch("payments", 'SELECT stream, reason FROM "{dead}"') == [("order/bad", "unreadable")]


def test_an_intent_whose_handler_is_gone_is_a_dead_letter_and_harms_no_other(
    caller: Callable[[str], Caller],
) -> None:
    for order in ("bad", "o1"):
        pay(order)
    spoil_intent("bad", "handler = 'payments.retired'")

    caller("one").perform()

    assert answers() == [("o1", "approved")]
    ((stream, error),) = fetch("payments", 'SELECT stream, error FROM "{dead}"')
    assert stream == "order/bad"
    assert "no handler is named 'payments.retired'" in error
