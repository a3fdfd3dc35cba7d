"""A call that fails is made again a few times; one that cannot be made harms no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ecommerce.messaging import registry
from ecommerce.messaging.claims import CLAIM_SECONDS
from ecommerce.messaging.effects import MOST_LOST_CLAIMS
from orders.contracts import OrderReserved
from payments.contracts import ChargeCard, RecordCharge
from tests.messaging.calls import Caller, Gateway, answers, in_ledger, pay
from tests.messaging.conftest import Clock
from tests.messaging.steps import counts, fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


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
    assert (handler, attempts, reason) == ("payments.charge_card", 4, "unavailable")
    assert error.startswith("Retry: the charge")


def test_a_call_that_its_workers_do_not_survive_is_given_up(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay()
    one = caller("one")
    for _ in range(MOST_LOST_CLAIMS):
        assert len(one.effects._claim(one.conn, 1)) == 1
        clock.advance(CLAIM_SECONDS + 1)

    one.perform()

    assert (gateway.calls, counts("payments")["effect"]) == (0, 0)
    ((error,),) = fetch("payments", 'SELECT error FROM "{dead}"')
    assert f"{MOST_LOST_CLAIMS} workers were lost during this call" in error


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
    ((stream, reason, error),) = fetch("payments", 'SELECT stream, reason, error FROM "{dead}"')
    assert (stream, reason) == ("order/bad", "unwired")
    assert "no handler is named 'payments.retired'" in error
