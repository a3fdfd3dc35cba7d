"""A payment from the command to the gateway's books and back, in a real database."""

from collections.abc import Callable

import pytest
from django.db import connection
from pytest_django import Settings

from ecommerce.messaging.bus import execute
from ecommerce.messaging.messages import Message
from ecommerce.messaging.worker import Worker
from ecommerce.values import Money
from payments import queries
from payments.contracts import ProcessPayment, RefundPayment
from payments.models import Payment, SimulatedCharge, tables

PRICE = Money(3998, "USD")


@pytest.fixture(autouse=True)
def no_delay(transactional_db: None, settings: Settings) -> None:
    settings.SIMULATED_GATEWAY_SECONDS = 0


@pytest.fixture
def deliver() -> Callable[[], None]:
    """Let a worker do everything that payments has left to do."""

    def work() -> None:
        Worker(["payments"]).drain(10)

    return work


@pytest.fixture
def pass_time(transactional_db: None) -> Callable[[int], None]:
    """Move the database's clock ahead by so many seconds more."""

    def ahead(seconds: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO messaging_clock (ahead) VALUES (make_interval(secs => %s)) "
                "ON CONFLICT (only_row) DO UPDATE SET ahead = messaging_clock.ahead + excluded.ahead",
                [seconds],
            )

    return ahead


def run(command: Message, tenant: str = "main") -> None:
    execute(command, tenant=tenant, actor="test")


def pay(
    order_id: str = "o1", method: str = "card_approved", amount: Money = PRICE
) -> ProcessPayment:
    return ProcessPayment(order_id=order_id, customer_id="cust-123", amount=amount, method=method)


def refund(order_id: str = "o1") -> RefundPayment:
    return RefundPayment(order_id=order_id, reason="customer_request")


def payment(order_id: str = "o1", tenant: str = "main") -> Payment:
    found = queries.payment(tenant, order_id)
    assert found is not None
    return found


def charge(order_id: str = "o1") -> SimulatedCharge:
    return SimulatedCharge.objects.get(key=f"main/{order_id}/charge/1")


def broken() -> dict[str, list[tuple[object, ...]]]:
    found = {}
    with connection.cursor() as cursor:
        for name, sql in queries.INVARIANTS:
            cursor.execute(sql)
            if rows := cursor.fetchall():
                found[name] = rows
    return found


@pytest.mark.parametrize(
    ("method", "amount", "status", "state"),
    [
        ("card_approved", 3998, "Captured", "captured"),
        ("card_slow", 3998, "Captured", "captured"),
        ("card_answer_lost", 3998, "Captured", "captured"),
        ("card_declined", 3998, "Failed", "declined"),
        ("card_approved", 1013, "Failed", "declined"),
        ("card_timeout", 3998, "Pending", "pending"),
        ("card_unavailable", 3998, "Pending", "pending"),
    ],
)
def test_a_card_ends_as_its_token_says(
    deliver: Callable[[], None], method: str, amount: int, status: str, state: str
) -> None:
    run(pay(method=method, amount=Money(amount, "USD")))
    deliver()

    assert (payment().status, charge().state) == (status, state)
    assert broken() == {}


def test_a_captured_payment_knows_its_transaction(deliver: Callable[[], None]) -> None:
    run(pay())
    deliver()

    paid = payment()
    assert paid.transaction_id == charge().transaction_id
    assert (paid.amount, paid.currency) == (3998, "USD")
    assert paid.processed_at is not None


def test_a_faulty_gateway_is_tried_again_after_two_and_four_seconds(
    deliver: Callable[[], None], pass_time: Callable[[int], None]
) -> None:
    run(pay(method="card_error"))
    seen = []
    for seconds in (0, 1, 2, 3, 2):
        pass_time(seconds)
        deliver()
        seen.append((payment().status, charge().calls))

    assert seen == [("Pending", 1), ("Pending", 1), ("Pending", 2), ("Pending", 2), ("Captured", 3)]
    assert broken() == {}


def test_a_gateway_that_never_answers_is_given_up_after_four_calls_and_can_still_be_voided(
    deliver: Callable[[], None], pass_time: Callable[[int], None]
) -> None:
    run(pay(method="card_timeout"))
    for seconds in (0, 3, 5, 9, 60):
        pass_time(seconds)
        deliver()
    assert (payment().status, charge().calls) == ("Pending", 4)
    assert tables.dead._default_manager.count() == 1

    run(refund())
    deliver()

    assert (payment().status, charge().state) == ("Voided", "voided")
    assert broken() == {}


def test_captured_money_goes_back_once(deliver: Callable[[], None]) -> None:
    run(pay())
    deliver()
    run(refund())
    run(refund())
    deliver()
    run(refund())
    deliver()

    paid, books = payment(), charge()
    assert (paid.status, books.state) == ("Refunded", "refunded")
    assert paid.refund_id == books.refund_id
    assert paid.refunded_at is not None
    assert broken() == {}


def test_a_refund_before_the_card_was_charged_leaves_no_money_taken(
    deliver: Callable[[], None],
) -> None:
    run(pay())
    run(refund())
    deliver()

    assert (payment().status, charge().state) in {("Voided", "voided"), ("Refunded", "refunded")}
    assert broken() == {}


def test_a_refund_first_and_the_payment_later_charges_nothing(deliver: Callable[[], None]) -> None:
    run(refund())
    run(pay())
    deliver()

    assert payment().status == "Voided"
    assert not SimulatedCharge.objects.exists()


def test_two_tenants_pay_for_their_own_order_of_one_name(deliver: Callable[[], None]) -> None:
    run(pay())
    run(pay(method="card_declined"), tenant="other")
    deliver()

    assert payment().status == "Captured"
    assert payment(tenant="other").status == "Failed"
    assert broken() == {}


def test_payments_are_listed_newest_first(deliver: Callable[[], None]) -> None:
    run(pay("o1"))
    run(pay("o2", method="card_declined"))
    run(pay("o3"))
    run(pay("o4"), tenant="other")
    deliver()

    assert [p.order_id for p in queries.payments("main")] == ["o3", "o2", "o1"]
    assert [p.order_id for p in queries.payments("main", "Failed")] == ["o2"]
    assert queries.payment("main", "o4") is None


CAPTURED_BUT = "Every captured payment is one captured charge of the same amount"
STRANDED = "No money is kept without a payment that has it, or is about to"
REFUNDED_BUT = "Every refunded payment is a refunded charge"
TWICE = "No order was charged twice"


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda: SimulatedCharge.objects.update(amount=1), {CAPTURED_BUT}),
        (lambda: SimulatedCharge.objects.all().delete(), {CAPTURED_BUT}),
        (lambda: Payment.objects.update(status="Failed"), {STRANDED}),
        (lambda: Payment.objects.all().delete(), {STRANDED}),
        (
            lambda: Payment.objects.update(
                status="Refunded", refund_id="rfd_1", refunded_at="2026-01-01T00:00:00Z"
            ),
            {STRANDED, REFUNDED_BUT},
        ),
        (
            lambda: SimulatedCharge.objects.create(
                key="main/o1/charge/2",
                amount=3998,
                currency="USD",
                state="captured",
                transaction_id="txn_2",
            ),
            {TWICE},
        ),
    ],
)
def test_the_invariants_notice_money_that_does_not_add_up(
    deliver: Callable[[], None], spoil: Callable[[], object], names: set[str]
) -> None:
    run(pay())
    deliver()
    assert broken() == {}

    spoil()

    assert broken().keys() == names
