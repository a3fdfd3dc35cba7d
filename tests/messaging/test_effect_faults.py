"""A call that fails is made again a few times; one that cannot be made harms no other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from ecommerce.messaging import registry
from ecommerce.messaging.calls import MOST_LOST_CLAIMS
from ecommerce.messaging.claims import CLAIM_SECONDS, TOGETHER, Claim
from ecommerce.messaging.effects import Effects
from orders.contracts import OrderReserved
from payments.contracts import ChargeCard, RecordCharge
from tests.messaging.calls import Caller, Gateway, answers, in_ledger, pay
from tests.messaging.conftest import Clock
from tests.messaging.steps import PATIENCE, counts, fetch

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


class Died(Exception):
    """A worker's process is gone, before it could record anything."""


def given_up_beside_a_deadly_call(caller: Callable[[str], Caller], clock: Clock) -> list[str]:
    """The streams whose calls were given up, when four were claimed and one kills its worker."""
    orders = ["deadly", "o1", "o2", "o3"]
    for order in orders:
        pay(order)
    claim = Effects._claim

    def claim_or_die(effects: Effects, *args: Any, **options: Any) -> list[Claim]:
        claims = claim(effects, *args, **options)
        for each in claims:
            if each.delivery.stored.stream == "order/deadly" and each.lost < MOST_LOST_CLAIMS:
                raise Died
        return claims

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Effects, "_claim", claim_or_die)
        for life in range(3 * MOST_LOST_CLAIMS):
            with suppress(Died):
                while caller(f"life-{life}").perform():
                    pass
            clock.advance(CLAIM_SECONDS + 1)
    assert counts("payments")["effect"] == 0
    return sorted(stream for (stream,) in fetch("payments", 'SELECT stream FROM "{dead}"'))


def test_a_call_that_kills_its_workers_is_given_up_and_takes_no_other_along(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    assert given_up_beside_a_deadly_call(caller, clock) == ["order/deadly"]
    assert sorted(answers()) == [(f"o{number}", "approved") for number in (1, 2, 3)]
    assert gateway.calls == 3


def test_control_claimed_together_its_neighbours_are_given_up_with_it(
    caller: Callable[[str], Caller],
    gateway: Gateway,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ecommerce.messaging.claims.TOGETHER", MOST_LOST_CLAIMS)

    assert len(given_up_beside_a_deadly_call(caller, clock)) == 4
    assert gateway.calls == 0


def test_calls_that_lost_workers_are_made_one_after_another_beside_others(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    for order in ("o1", "o2", "o3"):
        pay(order)
    for life in range(TOGETHER + 1):
        assert len(caller(f"life-{life}").effects._claim(caller("x").conn, 16)) == 3
        clock.advance(CLAIM_SECONDS + 1)
    pay("o4")
    one, answering = caller("one"), Event()
    gateway.before = lambda: answering.wait(PATIENCE)

    assert one.start() == 2
    pay("o5")
    assert one.start() == 3
    answering.set()
    one.record()
    assert [one.perform(), one.perform(), one.perform()] == [1, 1, 0]

    assert sorted(name for name, _ in answers()) == ["o1", "o2", "o3", "o4", "o5"]
