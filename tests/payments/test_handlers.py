"""Payments' decisions, as functions: what they return, and what the payment became."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest

from ecommerce.messaging.context import Context
from ecommerce.messaging.messages import Message, contract_of
from ecommerce.values import Money
from payments import handlers
from payments.contracts import (
    ChargeCard,
    PaymentCancellationRequested,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PaymentRequested,
    PaymentVoided,
    ProcessPayment,
    RecordCharge,
    RecordRefund,
    RecordVoid,
    RefundCharge,
    RefundPayment,
    VoidCharge,
)
from payments.models import Payment

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CONTEXT = Context(
    tenant="main",
    actor="orders",
    message_id=uuid.UUID(int=1),
    correlation_id=uuid.UUID(int=2),
    cause_id=None,
    traceparent=None,
    recorded_at=NOW,
    now=NOW,
)
PRICE = Money(3998, "USD")
FREE = Money(0, "USD")

PROCESS = ProcessPayment(
    order_id="o1", customer_id="cust-123", amount=PRICE, method="card_approved"
)
REFUND = RefundPayment(order_id="o1", reason="customer_request")
APPROVED = RecordCharge(order_id="o1", attempt=1, outcome="approved", transaction_id="txn_1")
DECLINED = RecordCharge(
    order_id="o1", attempt=1, outcome="declined", code="card_declined", reason="No."
)
VOIDED = RecordVoid(order_id="o1")
GIVEN_BACK = RecordVoid(order_id="o1", transaction_id="txn_1", refund_id="rfd_1")
REFUNDED = RecordRefund(order_id="o1", refund_id="rfd_1")

PROCESSED_EVENT = PaymentProcessed(
    order_id="o1",
    payment_id="pay-o1",
    customer_id="cust-123",
    transaction_id="txn_1",
    amount=PRICE,
    method="card_approved",
    processed_at=NOW,
)
VOIDED_EVENT = PaymentVoided(order_id="o1", payment_id="pay-o1")
REFUNDED_EVENT = PaymentRefunded(
    order_id="o1",
    payment_id="pay-o1",
    transaction_id="txn_1",
    refund_id="rfd_1",
    amount=PRICE,
    refunded_at=NOW,
)

HANDLERS: dict[type[Message], Callable[..., Any]] = {
    ProcessPayment: handlers.process_payment,
    RefundPayment: handlers.refund_payment,
    RecordCharge: handlers.record_charge,
    RecordVoid: handlers.record_void,
    RecordRefund: handlers.record_refund,
}


class Desk:
    """One order's payment, and every event so far: what the kernel keeps around the handlers."""

    def __init__(self, *commands: Message) -> None:
        self.payment: Payment | None = None
        self.events: list[Message] = []
        for command in commands:
            self.give(command)

    def give(self, command: Message) -> list[Message]:
        """Let a command's handler decide; the messages that it returns."""
        results = HANDLERS[type(command)](command, self.payment, CONTEXT)
        for result in results:
            if isinstance(result, Payment):
                assert self.payment is None
                self.payment = result
        messages = [result for result in results if isinstance(result, Message)]
        self.events += [m for m in messages if contract_of(m).kind == "event"]
        return messages

    @property
    def status(self) -> str:
        assert self.payment is not None
        return self.payment.status

    def row(self) -> dict[str, Any]:
        assert self.payment is not None
        return columns(self.payment)

    def assert_row_is_fold(self) -> None:
        again = Payment(tenant="main")
        for event in self.events:
            again.apply(event)
        assert columns(again) == self.row()


def columns(row: Payment) -> dict[str, Any]:
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}


def test_a_payment_is_requested_before_the_card_is_charged() -> None:
    desk = Desk()

    messages = desk.give(PROCESS)

    assert messages == [
        PaymentRequested(
            order_id="o1",
            payment_id="pay-o1",
            customer_id="cust-123",
            attempt=1,
            amount=PRICE,
            method="card_approved",
        ),
        ChargeCard(
            order_id="o1", attempt=1, key="main/o1/charge/1", amount=PRICE, method="card_approved"
        ),
    ]
    assert desk.status == "Pending"
    desk.assert_row_is_fold()


def test_an_order_is_charged_once_however_often_it_is_asked_for() -> None:
    for so_far in ([PROCESS], [PROCESS, APPROVED], [PROCESS, DECLINED], [REFUND]):
        desk = Desk(*so_far)
        before = desk.row()

        assert desk.give(PROCESS) == []
        assert desk.row() == before


def test_an_order_that_costs_nothing_is_paid_without_the_gateway() -> None:
    desk = Desk()
    command = ProcessPayment(order_id="o1", customer_id="cust-123", amount=FREE, method="none")

    messages = desk.give(command)

    assert messages == [
        PaymentRequested(
            order_id="o1",
            payment_id="pay-o1",
            customer_id="cust-123",
            attempt=1,
            amount=FREE,
            method="none",
        ),
        PaymentProcessed(
            order_id="o1",
            payment_id="pay-o1",
            customer_id="cust-123",
            transaction_id="",
            amount=FREE,
            method="none",
            processed_at=NOW,
        ),
    ]
    # and there is nothing to give back
    assert desk.give(REFUND) == [VOIDED_EVENT]
    assert desk.status == "Voided"
    desk.assert_row_is_fold()


def test_an_approved_charge_is_captured_money() -> None:
    desk = Desk(PROCESS)

    assert desk.give(APPROVED) == [PROCESSED_EVENT]
    assert desk.payment is not None
    assert (desk.status, desk.payment.processed_at) == ("Captured", NOW)
    desk.assert_row_is_fold()


def test_a_declined_charge_fails_the_payment_with_its_reason() -> None:
    desk = Desk(PROCESS)

    messages = desk.give(DECLINED)

    assert messages == [
        PaymentFailed(order_id="o1", payment_id="pay-o1", code="card_declined", reason="No.")
    ]
    assert desk.status == "Failed"
    desk.assert_row_is_fold()


@pytest.mark.parametrize("answer", [APPROVED, DECLINED])
@pytest.mark.parametrize("first", [APPROVED, DECLINED])
def test_the_first_answer_to_a_charge_stays(first: RecordCharge, answer: RecordCharge) -> None:
    desk = Desk(PROCESS, first)
    before = desk.row()

    assert desk.give(answer) == []
    assert desk.row() == before


def test_the_answer_to_another_attempt_is_ignored() -> None:
    desk = Desk(PROCESS)
    stray = RecordCharge(order_id="o1", attempt=2, outcome="approved", transaction_id="txn_2")

    assert desk.give(stray) == []
    assert desk.status == "Pending"


def test_answers_without_a_payment_are_ignored() -> None:
    for answer in (APPROVED, DECLINED, VOIDED, GIVEN_BACK, REFUNDED):
        desk = Desk()

        assert desk.give(answer) == []
        assert desk.payment is None


def test_a_refund_before_the_payment_forbids_it() -> None:
    desk = Desk()

    assert desk.give(REFUND) == [VOIDED_EVENT]
    assert desk.give(PROCESS) == []
    assert desk.payment is not None
    assert (desk.status, desk.payment.amount) == ("Voided", 0)
    desk.assert_row_is_fold()


def test_a_refund_during_the_charge_has_the_gateway_settle_that_charge() -> None:
    desk = Desk(PROCESS)

    messages = desk.give(REFUND)

    assert messages == [
        PaymentCancellationRequested(order_id="o1", payment_id="pay-o1", reason="customer_request"),
        VoidCharge(
            order_id="o1", key="main/o1/charge/1", refund_key="main/o1/refund/1", amount=PRICE
        ),
    ]
    assert desk.status == "Cancelling"
    desk.assert_row_is_fold()


@pytest.mark.parametrize("answer", [APPROVED, DECLINED])
def test_the_answer_to_a_charge_that_is_being_settled_changes_nothing(
    answer: RecordCharge,
) -> None:
    desk = Desk(PROCESS, REFUND)
    before = desk.row()

    assert desk.give(answer) == []
    assert desk.row() == before


def test_a_charge_that_took_no_money_ends_voided() -> None:
    desk = Desk(PROCESS, REFUND)

    assert desk.give(VOIDED) == [VOIDED_EVENT]
    assert desk.status == "Voided"
    desk.assert_row_is_fold()


def test_a_charge_that_had_taken_money_ends_refunded() -> None:
    desk = Desk(PROCESS, REFUND)

    assert desk.give(GIVEN_BACK) == [REFUNDED_EVENT]
    assert desk.status == "Refunded"
    desk.assert_row_is_fold()


def test_captured_money_is_refunded_by_the_gateway() -> None:
    desk = Desk(PROCESS, APPROVED)

    messages = desk.give(REFUND)

    assert messages == [
        PaymentCancellationRequested(order_id="o1", payment_id="pay-o1", reason="customer_request"),
        RefundCharge(order_id="o1", key="main/o1/refund/1", transaction_id="txn_1", amount=PRICE),
    ]
    assert desk.give(REFUNDED) == [REFUNDED_EVENT]
    assert desk.status == "Refunded"
    desk.assert_row_is_fold()


def test_a_failed_payment_has_nothing_to_give_back() -> None:
    desk = Desk(PROCESS, DECLINED)

    assert desk.give(REFUND) == [VOIDED_EVENT]
    assert desk.payment is not None
    assert (desk.status, desk.payment.code) == ("Voided", "card_declined")
    desk.assert_row_is_fold()


@pytest.mark.parametrize(
    "so_far",
    [
        [REFUND],
        [PROCESS, REFUND],
        [PROCESS, REFUND, VOIDED],
        [PROCESS, REFUND, GIVEN_BACK],
        [PROCESS, APPROVED, REFUND],
        [PROCESS, APPROVED, REFUND, REFUNDED],
        [PROCESS, DECLINED, REFUND],
    ],
)
def test_a_second_refund_is_no_refund(so_far: list[Message]) -> None:
    desk = Desk(*so_far)
    before = desk.row()

    assert desk.give(REFUND) == []
    assert desk.row() == before


def test_a_payment_that_is_not_being_cancelled_ignores_answers_to_a_cancellation() -> None:
    for so_far in ([PROCESS], [PROCESS, APPROVED], [PROCESS, DECLINED], [REFUND]):
        desk = Desk(*so_far)
        before = desk.row()

        assert desk.give(VOIDED) == []
        assert desk.give(GIVEN_BACK) == []
        assert desk.give(REFUNDED) == []
        assert desk.row() == before


def test_two_tenants_orders_of_one_name_have_keys_of_their_own() -> None:
    payments = [Payment(tenant=tenant, order_id="o1", attempt=1) for tenant in ("main", "other")]

    assert [payment.charge_key for payment in payments] == ["main/o1/charge/1", "other/o1/charge/1"]
    assert [payment.refund_key for payment in payments] == ["main/o1/refund/1", "other/o1/refund/1"]


class Race:
    """An order whose effects and cancellation happen in any order, with a gateway that keeps
    its books by key."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.money = "untouched"
        self.effects: list[Message] = []
        self.answer: RecordCharge | None = None

    def happens(self, step: str) -> bool:
        """Let a step happen; False when it has nothing to act on yet."""
        match step:
            case "process":
                self.effects += self._effects(PROCESS)
            case "refund" | "refund again":
                self.effects += self._effects(REFUND)
            case "charge called":
                return self._charge()
            case "charge recorded":
                if self.answer is None:
                    return False
                self.desk.give(self.answer)
            case "cancel called":
                return self._cancel()
        return True

    def _effects(self, command: Message) -> list[Message]:
        sent = self.desk.give(command)
        return [m for m in sent if isinstance(m, ChargeCard | VoidCharge | RefundCharge)]

    def _charge(self) -> bool:
        if not any(isinstance(effect, ChargeCard) for effect in self.effects):
            return False
        if self.money == "untouched":
            self.money = "captured"
        self.answer = DECLINED if self.money == "barred" else APPROVED
        return True

    def _cancel(self) -> bool:
        cancels = [e for e in self.effects if not isinstance(e, ChargeCard)]
        if not cancels:
            return False
        if isinstance(cancels[0], RefundCharge):
            assert self.money == "captured"
            self.money = "refunded"
            self.desk.give(REFUNDED)
        elif self.money == "captured":
            self.money = "refunded"
            self.desk.give(GIVEN_BACK)
        else:
            self.money = "barred"
            self.desk.give(VOIDED)
        return True


STEPS = ("process", "refund", "refund again", "charge called", "charge recorded", "cancel called")


def test_however_refund_and_charge_interleave_no_money_is_kept() -> None:
    ends = set()
    for order in permutations(STEPS):
        race = Race()

        # what cannot happen yet is tried again once everything else has
        waiting = list(order)
        for _ in STEPS:
            waiting = [step for step in waiting if not race.happens(step)]

        assert (race.money, race.desk.status) in {
            ("untouched", "Voided"),
            ("barred", "Voided"),
            ("refunded", "Refunded"),
        }, order
        race.desk.assert_row_is_fold()
        ended = [e for e in race.desk.events if isinstance(e, PaymentVoided | PaymentRefunded)]
        assert len(ended) == 1, order
        ends.add(race.money)
    # and all three ends were among them
    assert ends == {"untouched", "barred", "refunded"}
