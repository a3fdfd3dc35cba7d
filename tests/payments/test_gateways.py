"""The simulated gateway: one charge per key, whatever goes wrong on the way."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from ecommerce.messaging.errors import Retry
from ecommerce.values import Money
from payments import handlers
from payments.contracts import (
    ChargeCard,
    RecordCharge,
    RecordRefund,
    RecordVoid,
    RefundCharge,
    VoidCharge,
)
from payments.gateways import (
    BARRED,
    DECLINED,
    NO_FUNDS,
    UNKNOWN_CARD,
    Captured,
    Declined,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Refunded,
    SimulatedGateway,
    Voided,
    gateway,
)
from payments.models import SimulatedCharge

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = Money(3998, "USD")
KEY = "main/o1/charge/1"
REFUND_KEY = "main/o1/refund/1"


@pytest.fixture(autouse=True)
def no_delay(settings: Settings) -> None:
    settings.SIMULATED_GATEWAY_SECONDS = 0


@pytest.fixture
def bank() -> SimulatedGateway:
    return SimulatedGateway()


def books() -> list[tuple[str, str, int]]:
    return list(SimulatedCharge.objects.order_by("key").values_list("key", "state", "calls"))


def captured(answer: Captured | Declined | None) -> str:
    assert isinstance(answer, Captured)
    return answer.transaction_id


def test_the_setting_names_the_gateway(settings: Settings) -> None:
    settings.PAYMENT_GATEWAY = "simulated"
    assert isinstance(gateway(), SimulatedGateway)

    settings.PAYMENT_GATEWAY = "paypal"
    with pytest.raises(ImproperlyConfigured, match="PAYMENT_GATEWAY is 'paypal'"):
        gateway()


@pytest.mark.parametrize("method", ["card_approved", "card_slow"])
def test_one_key_is_one_charge_with_one_answer(bank: SimulatedGateway, method: str) -> None:
    first = bank.charge(KEY, PRICE, method)

    assert isinstance(first, Captured)
    assert bank.charge(KEY, PRICE, method) == first
    assert bank.look_up(KEY) == first
    assert books() == [(KEY, "captured", 2)]


def test_another_key_is_another_charge(bank: SimulatedGateway) -> None:
    first = bank.charge(KEY, PRICE, "card_approved")
    second = bank.charge("other/o1/charge/1", PRICE, "card_approved")

    assert first != second


def test_a_key_belongs_to_its_amount(bank: SimulatedGateway) -> None:
    bank.charge(KEY, PRICE, "card_approved")

    with pytest.raises(GatewayRefused):
        bank.charge(KEY, Money(1, "USD"), "card_approved")
    with pytest.raises(GatewayRefused):
        bank.charge(KEY, Money(3998, "EUR"), "card_approved")
    assert SimulatedCharge.objects.get().amount == 3998


@pytest.mark.parametrize(
    ("method", "amount", "answer"),
    [
        ("card_declined", 3998, DECLINED),
        ("card_approved", 1013, NO_FUNDS),
        ("card_slow", 13, NO_FUNDS),
        ("4242424242424242", 3998, UNKNOWN_CARD),
    ],
)
def test_a_declined_charge_stays_declined(
    bank: SimulatedGateway, method: str, amount: int, answer: Declined
) -> None:
    assert bank.charge(KEY, Money(amount, "USD"), method) == answer
    assert bank.charge(KEY, Money(amount, "USD"), method) == answer
    assert bank.look_up(KEY) == answer
    assert books() == [(KEY, "declined", 2)]


def test_a_card_that_times_out_is_never_charged(bank: SimulatedGateway) -> None:
    for _ in range(3):
        with pytest.raises(GatewayTimeout):
            bank.charge(KEY, PRICE, "card_timeout")

    assert bank.look_up(KEY) is None
    assert books() == [(KEY, "pending", 3)]


def test_a_lost_answer_is_found_by_the_key(bank: SimulatedGateway) -> None:
    with pytest.raises(GatewayTimeout):
        bank.charge(KEY, PRICE, "card_answer_lost")

    found = bank.look_up(KEY)
    assert isinstance(found, Captured)
    assert bank.charge(KEY, PRICE, "card_answer_lost") == found
    assert books() == [(KEY, "captured", 2)]


def test_a_faulty_gateway_recovers_at_the_third_call(bank: SimulatedGateway) -> None:
    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            bank.charge(KEY, PRICE, "card_error")
        assert bank.look_up(KEY) is None

    assert isinstance(bank.charge(KEY, PRICE, "card_error"), Captured)
    assert books() == [(KEY, "captured", 3)]


def test_an_unavailable_gateway_never_charges(bank: SimulatedGateway) -> None:
    for _ in range(5):
        with pytest.raises(GatewayUnavailable):
            bank.charge(KEY, PRICE, "card_unavailable")

    assert books() == [(KEY, "pending", 5)]


def test_a_faulty_gateway_declines_what_is_to_be_declined(bank: SimulatedGateway) -> None:
    amount = Money(1013, "USD")
    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            bank.charge(KEY, amount, "card_error")

    assert bank.charge(KEY, amount, "card_error") == NO_FUNDS


def test_looking_up_an_unknown_key_finds_nothing(bank: SimulatedGateway) -> None:
    assert bank.look_up(KEY) is None
    assert books() == []


def test_voiding_an_unknown_charge_bars_it(bank: SimulatedGateway) -> None:
    assert bank.void(KEY, REFUND_KEY, PRICE) == Voided()
    assert bank.charge(KEY, PRICE, "card_approved") == BARRED
    assert bank.void(KEY, REFUND_KEY, PRICE) == Voided()
    assert books() == [(KEY, "voided", 1)]


@pytest.mark.parametrize("method", ["card_timeout", "card_unavailable", "card_error"])
def test_voiding_a_charge_without_an_answer_bars_it(bank: SimulatedGateway, method: str) -> None:
    with pytest.raises((GatewayTimeout, GatewayUnavailable)):
        bank.charge(KEY, PRICE, method)

    assert bank.void(KEY, REFUND_KEY, PRICE) == Voided()
    assert bank.look_up(KEY) == BARRED


def test_voiding_a_captured_charge_refunds_it_once(bank: SimulatedGateway) -> None:
    transaction_id = captured(bank.charge(KEY, PRICE, "card_approved"))

    first = bank.void(KEY, REFUND_KEY, PRICE)

    assert first.transaction_id == transaction_id
    assert first.refund_id.startswith("rfd_")
    assert bank.void(KEY, REFUND_KEY, PRICE) == first
    assert bank.refund(REFUND_KEY, transaction_id, PRICE) == Refunded(first.refund_id)
    # a repeated charge gets its old answer, and takes nothing again
    assert captured(bank.charge(KEY, PRICE, "card_approved")) == transaction_id
    assert books() == [(KEY, "refunded", 2)]


def test_voiding_a_declined_charge_leaves_it_declined(bank: SimulatedGateway) -> None:
    bank.charge(KEY, PRICE, "card_declined")

    assert bank.void(KEY, REFUND_KEY, PRICE) == Voided()
    assert books() == [(KEY, "declined", 1)]


def test_a_refund_is_given_once_per_charge(bank: SimulatedGateway) -> None:
    transaction_id = captured(bank.charge(KEY, PRICE, "card_approved"))

    first = bank.refund(REFUND_KEY, transaction_id, PRICE)

    assert bank.refund(REFUND_KEY, transaction_id, PRICE) == first
    with pytest.raises(GatewayRefused):
        bank.refund("main/o1/refund/2", transaction_id, PRICE)
    assert books() == [(KEY, "refunded", 1)]


def test_only_captured_money_of_that_amount_is_refunded(bank: SimulatedGateway) -> None:
    transaction_id = captured(bank.charge(KEY, PRICE, "card_approved"))
    bank.charge("main/o2/charge/1", PRICE, "card_declined")
    declined_id = SimulatedCharge.objects.get(state="declined").transaction_id

    for wrong, amount in (
        ("txn_unknown", PRICE),
        (declined_id, PRICE),
        (transaction_id, Money(3999, "USD")),
        (transaction_id, Money(3998, "EUR")),
    ):
        with pytest.raises(GatewayRefused):
            bank.refund(REFUND_KEY, wrong, amount)
    assert SimulatedCharge.objects.get(key=KEY).state == "captured"


# At the same time


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run the calls in threads of their own that start together; their results or errors."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        start.wait(timeout=10)
        try:
            return call()
        except Exception as error:  # noqa: BLE001  errors are results here
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_calls_with_one_key_at_once_are_one_charge(bank: SimulatedGateway) -> None:
    for number in range(20):
        key = f"main/o{number}/charge/1"

        answers = at_once(*[partial(bank.charge, key, PRICE, "card_approved")] * 8)

        assert isinstance(answers[0], Captured)
        assert answers == [answers[0]] * 8
        assert SimulatedCharge.objects.get(key=key).calls == 8


def test_of_calls_at_once_to_a_faulty_gateway_exactly_two_fail(bank: SimulatedGateway) -> None:
    answers = at_once(*[lambda: bank.charge(KEY, PRICE, "card_error")] * 6)

    failed = [answer for answer in answers if isinstance(answer, GatewayUnavailable)]
    assert len(failed) == 2
    assert len({answer for answer in answers if isinstance(answer, Captured)}) == 1


def test_a_charge_and_its_void_at_once_never_keep_money(bank: SimulatedGateway) -> None:
    for number in range(40):
        key, refund_key = f"main/o{number}/charge/1", f"main/o{number}/refund/1"

        charged, voided = at_once(
            partial(bank.charge, key, PRICE, "card_approved"),
            partial(bank.void, key, refund_key, PRICE),
        )

        state = SimulatedCharge.objects.get(key=key).state
        assert isinstance(voided, Voided)
        if charged == BARRED:
            assert (state, voided) == ("voided", Voided())
        else:
            assert isinstance(charged, Captured)
            assert (state, voided.transaction_id) == ("refunded", charged.transaction_id)


def test_refunds_at_once_give_back_once(bank: SimulatedGateway) -> None:
    transaction_id = captured(bank.charge(KEY, PRICE, "card_approved"))

    answers = at_once(
        *[lambda: bank.refund(REFUND_KEY, transaction_id, PRICE)] * 4,
        *[lambda: bank.refund("main/o1/refund/2", transaction_id, PRICE)] * 4,
        *[lambda: bank.void(KEY, REFUND_KEY, PRICE)] * 4,
    )

    refunds = {a.refund_id for a in answers if isinstance(a, Refunded | Voided) and a.refund_id}
    assert len(refunds) == 1
    assert SimulatedCharge.objects.get().refund_id in refunds


# Effects: from the gateway's answers to commands

CHARGE = ChargeCard(order_id="o1", attempt=1, key=KEY, amount=PRICE, method="card_approved")


def charge_with(method: str) -> ChargeCard:
    return ChargeCard(order_id="o1", attempt=1, key=KEY, amount=PRICE, method=method)


def test_the_effect_of_a_charge_records_the_answer(bank: SimulatedGateway) -> None:
    recorded = handlers.charge_card(CHARGE)

    assert recorded == RecordCharge(
        order_id="o1",
        attempt=1,
        outcome="approved",
        transaction_id=captured(bank.look_up(KEY)),
    )
    assert handlers.charge_card(CHARGE) == recorded


def test_the_effect_of_a_declined_charge_records_why() -> None:
    assert handlers.charge_card(charge_with("card_declined")) == RecordCharge(
        order_id="o1",
        attempt=1,
        outcome="declined",
        code="card_declined",
        reason="The card was declined.",
    )


def test_a_lost_answer_is_looked_up_at_once() -> None:
    recorded = handlers.charge_card(charge_with("card_answer_lost"))

    assert recorded.outcome == "approved"
    assert books() == [(KEY, "captured", 1)]


@pytest.mark.parametrize("method", ["card_timeout", "card_unavailable"])
def test_a_gateway_that_does_not_answer_is_asked_again_later(method: str) -> None:
    for _ in range(4):
        with pytest.raises(Retry):
            handlers.charge_card(charge_with(method))


def test_a_faulty_gateway_is_asked_until_it_answers() -> None:
    for _ in range(2):
        with pytest.raises(Retry):
            handlers.charge_card(charge_with("card_error"))

    assert handlers.charge_card(charge_with("card_error")).outcome == "approved"


def test_books_out_of_reach_are_a_transient_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(alias: str) -> object:
        raise psycopg.OperationalError("the server closed the connection")

    monkeypatch.setattr("payments.gateways.connection", unreachable)

    with pytest.raises(Retry, match="the server closed the connection"):
        handlers.charge_card(CHARGE)


def test_the_effect_of_a_void_records_whether_money_had_moved() -> None:
    void = VoidCharge(order_id="o1", key=KEY, refund_key=REFUND_KEY, amount=PRICE)

    assert handlers.void_charge(void) == RecordVoid(order_id="o1")

    second = VoidCharge(
        order_id="o2", key="main/o2/charge/1", refund_key="main/o2/refund/1", amount=PRICE
    )
    handlers.charge_card(
        ChargeCard(order_id="o2", attempt=1, key=second.key, amount=PRICE, method="card_approved")
    )
    charge = SimulatedCharge.objects.get(key=second.key)
    recorded = handlers.void_charge(second)
    charge.refresh_from_db()
    assert recorded == RecordVoid(
        order_id="o2", transaction_id=charge.transaction_id, refund_id=charge.refund_id
    )
    assert charge.refund_id


def test_the_effect_of_a_refund_records_its_id() -> None:
    transaction_id = handlers.charge_card(CHARGE).transaction_id
    refund = RefundCharge(
        order_id="o1", key=REFUND_KEY, transaction_id=transaction_id, amount=PRICE
    )

    recorded = handlers.refund_charge(refund)

    assert recorded == RecordRefund(
        order_id="o1", refund_id=SimulatedCharge.objects.get().refund_id
    )
    assert handlers.refund_charge(refund) == recorded
