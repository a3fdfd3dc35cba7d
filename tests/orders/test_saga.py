"""The fulfilment process, one answer at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.messages import Message, contract_of
from inventory.contracts import (
    CommitInventory,
    InventoryInsufficient,
    ReleaseInventory,
    Shortage,
)
from orders import saga
from orders.contracts import (
    CancelOrder,
    ExpireOrder,
    OrderCancellationRequested,
    OrderDelivered,
    OrderPaid,
    OrderReserved,
    OrderShipped,
    OrderStalled,
)
from orders.handlers import cancel_order
from orders.models import Fulfilment, Order
from payments.contracts import ProcessPayment, RefundPayment
from shipping.contracts import CreateShipment, ParcelLine
from tests.orders import examples
from tests.orders.examples import (
    ADDRESS,
    EXPIRY,
    NOW,
    PRICE,
    PRODUCTS,
    cancelled,
    cancelling,
    closed,
    context,
    paying,
    pending,
    shipped,
    shipping,
    state,
)

Rows = tuple[Fulfilment, Order]
Given = Callable[[], Rows]

SHORT = InventoryInsufficient(
    order_id="o1", shortages=(Shortage(product_id="prod-456", requested=2, available=1),)
)
PAYMENT_ANSWERS = {
    "processed": examples.processed(),
    "declined": examples.declined(),
    "voided": examples.voided(),
    "refunded": examples.refunded(),
}
STEPS = {
    "reserving": pending,
    "paying": paying,
    "cancelling": cancelling,
    "shipping": shipping,
    "done": shipped,
    "closed": closed,
}


def answer(event: Any, rows: Rows) -> list[Message]:
    handlers: dict[str, Callable[..., list[Message]]] = {
        "inventory": saga.inventory_answered,
        "payments": saga.payment_answered,
        "shipping": saga.shipping_answered,
    }
    messages: list[Message] = handlers[contract_of(event).service](event, *rows, context())
    return messages


def expire(rows: Rows) -> list[Message]:
    """What the sweep does, and then the command that it sends."""
    fulfilment, order = rows
    assert fulfilment.deadline_at is not None
    command = ExpireOrder(order_id="o1", deadline=fulfilment.deadline_at)
    fulfilment.deadline_at = None
    messages: list[Message] = saga.expire_order(command, fulfilment, order, context())
    return messages


def cancel(rows: Rows) -> list[Message]:
    fulfilment, order = rows
    command = CancelOrder(order_id="o1")
    messages: list[Message] = cancel_order(command, order, fulfilment, context())
    return messages


def release(reason: str) -> ReleaseInventory:
    return ReleaseInventory(order_id="o1", product_ids=PRODUCTS, reason=reason)


def refund(reason: str) -> RefundPayment:
    return RefundPayment(order_id="o1", reason=reason)


def assert_closed(rows: Rows, reason: str) -> None:
    fulfilment, order = rows
    assert (fulfilment.step, fulfilment.deadline_at) == ("closed", None)
    assert (order.status, order.cancel_reason) == ("Cancelled", reason)
    assert fulfilment.cancel_reason == reason


# The way forward


def test_reserved_stock_is_paid_for_before_the_reservation_expires() -> None:
    fulfilment, order = rows = pending()

    assert answer(examples.reserved(), rows) == [
        OrderReserved(order_id="o1"),
        ProcessPayment(order_id="o1", customer_id="cust-123", amount=PRICE, method="card_approved"),
    ]

    assert (fulfilment.step, fulfilment.deadline_at) == ("paying", EXPIRY)
    assert order.status == "Reserved"


def test_a_paid_order_is_handed_to_shipping() -> None:
    fulfilment, order = rows = paying()

    assert answer(examples.processed(), rows) == [
        OrderPaid(order_id="o1", payment_id="pay-1"),
        CreateShipment(
            order_id="o1",
            customer_id="cust-123",
            lines=(
                ParcelLine(line_id="1", product_id="prod-456", quantity=2),
                ParcelLine(line_id="2", product_id="prod-789", quantity=1),
            ),
            address=ADDRESS,
        ),
    ]

    assert (fulfilment.step, fulfilment.deadline_at) == ("shipping", NOW + timedelta(minutes=30))
    assert (order.status, order.payment_id) == ("Paid", "pay-1")


def test_a_shipped_order_takes_its_stock_with_it_and_waits_for_nothing() -> None:
    fulfilment, order = rows = shipping()

    assert answer(examples.shipment(), rows) == [
        OrderShipped(order_id="o1", shipment_id="shp-1", tracking_number="T1"),
        CommitInventory(order_id="o1", product_ids=PRODUCTS),
    ]

    assert (fulfilment.step, fulfilment.deadline_at) == ("done", None)
    assert (order.status, order.shipment_id) == ("Shipped", "shp-1")
    assert order.tracking_number == "T1"


def test_a_delivered_order_is_delivered_once() -> None:
    _, order = rows = shipped()

    assert answer(examples.delivered(), rows) == [OrderDelivered(order_id="o1", delivered_at=NOW)]
    assert answer(examples.delivered(), rows) == []

    assert (order.status, order.delivered_at) == ("Delivered", NOW)


# The ways back


def test_without_stock_the_order_is_over() -> None:
    rows = pending()

    assert answer(SHORT, rows) == [cancelled("insufficient_stock")]

    assert_closed(rows, "insufficient_stock")


def test_without_payment_the_stock_goes_back() -> None:
    rows = paying()

    assert answer(examples.declined(), rows) == [
        cancelled("payment_declined"),
        release("payment_declined"),
    ]

    assert_closed(rows, "payment_declined")


@pytest.mark.parametrize("event", [examples.voided(), examples.refunded()])
def test_a_payment_that_an_operator_called_off_is_one_that_never_comes(event: Any) -> None:
    rows = paying()

    assert answer(event, rows) == [cancelled("payment_declined"), release("payment_declined")]

    assert_closed(rows, "payment_declined")


def test_without_a_carrier_money_and_stock_go_back() -> None:
    rows = shipping()

    assert answer(examples.not_shipped(), rows) == [
        cancelled("shipment_failed"),
        refund("shipment_failed"),
        release("shipment_failed"),
    ]

    assert_closed(rows, "shipment_failed")


# Cancelling


def test_an_order_without_stock_yet_is_cancelled_at_once() -> None:
    rows = pending()

    assert cancel(rows) == [cancelled("customer_request"), release("customer_request")]

    assert_closed(rows, "customer_request")


def test_an_order_whose_payment_may_be_under_way_waits_for_its_answer() -> None:
    fulfilment, order = rows = paying()

    assert cancel(rows) == [
        OrderCancellationRequested(order_id="o1", reason="customer_request"),
        refund("customer_request"),
    ]

    assert fulfilment.step == "cancelling"
    assert fulfilment.deadline_at == NOW + timedelta(minutes=5)
    assert order.status == "Cancelling"


def test_a_payment_that_crosses_the_cancellation_changes_nothing() -> None:
    rows = cancelling()
    before = state(*rows)

    assert answer(examples.processed(), rows) == []

    assert state(*rows) == before


@pytest.mark.parametrize("event", ["declined", "voided", "refunded"])
def test_a_cancellation_is_complete_when_the_money_is_settled(event: str) -> None:
    rows = cancelling()

    assert answer(PAYMENT_ANSWERS[event], rows) == [
        cancelled("customer_request"),
        release("customer_request"),
    ]

    assert_closed(rows, "customer_request")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (cancelling, "already-cancelled"),
        (closed, "already-cancelled"),
        (shipping, "too-late-to-cancel"),
        (shipped, "too-late-to-cancel"),
    ],
)
def test_a_cancellation_is_refused_when_it_is_too_late(given: Given, code: str) -> None:
    rows = given()
    before = state(*rows)

    with pytest.raises(Conflict) as refusal:
        cancel(rows)

    assert refusal.value.code == code
    assert refusal.value.extra == {"orderStatus": rows[1].status}
    assert state(*rows) == before


# Deadlines


def test_stock_that_is_not_reserved_in_time_cancels_the_order() -> None:
    rows = pending()

    assert expire(rows) == [cancelled("reservation_timeout"), release("reservation_timeout")]

    assert_closed(rows, "reservation_timeout")


def test_a_payment_that_does_not_come_in_time_is_called_off() -> None:
    rows = paying()

    assert expire(rows) == [
        cancelled("payment_timeout"),
        refund("payment_timeout"),
        release("payment_timeout"),
    ]

    assert_closed(rows, "payment_timeout")


def test_a_cancellation_does_not_wait_for_the_money_for_ever() -> None:
    rows = cancelling()

    assert expire(rows) == [cancelled("customer_request"), release("customer_request")]

    assert_closed(rows, "customer_request")


def test_an_order_that_shipping_does_not_answer_calls_an_operator_once() -> None:
    fulfilment, order = rows = shipping()
    deadline = fulfilment.deadline_at
    assert deadline is not None

    assert expire(rows) == [OrderStalled(order_id="o1", step="shipping")]
    again = ExpireOrder(order_id="o1", deadline=deadline)
    assert saga.expire_order(again, fulfilment, order, context()) == []

    assert (fulfilment.step, fulfilment.deadline_at) == ("shipping", None)
    assert fulfilment.attention == "shipping had not answered by 2026-03-02 00:00 UTC"
    assert order.status == "Paid"


def test_a_stalled_order_goes_on_when_the_carrier_answers_after_all() -> None:
    fulfilment, order = rows = shipping()
    expire(rows)

    assert len(answer(examples.shipment(), rows)) == 2

    assert (fulfilment.step, fulfilment.attention, order.status) == ("done", "", "Shipped")


def test_an_answer_that_overtakes_its_deadline_wins() -> None:
    fulfilment, order = rows = paying()
    assert fulfilment.deadline_at is not None
    overtaken = ExpireOrder(order_id="o1", deadline=fulfilment.deadline_at)
    fulfilment.deadline_at = None
    answer(examples.processed(), rows)
    before = state(*rows)

    assert saga.expire_order(overtaken, fulfilment, order, context()) == []

    assert state(*rows) == before


@pytest.mark.parametrize("given", [shipped, closed])
def test_a_deadline_means_nothing_to_an_order_that_is_finished(given: Given) -> None:
    fulfilment, order = rows = given()
    before = state(*rows)

    command = ExpireOrder(order_id="o1", deadline=EXPIRY)
    assert saga.expire_order(command, fulfilment, order, context()) == []

    assert state(*rows) == before


# What comes late, twice or from nowhere


def test_stock_that_is_reserved_for_a_cancelled_order_goes_back() -> None:
    rows = closed()
    before = state(*rows)

    assert answer(examples.reserved(), rows) == [release("customer_request")]

    assert state(*rows) == before


def test_money_that_is_taken_for_a_cancelled_order_goes_back_once() -> None:
    fulfilment, order = rows = paying()
    answer(examples.declined(), rows)

    assert answer(examples.processed(), rows) == [refund("payment_declined")]
    assert answer(examples.processed(), rows) == []

    assert fulfilment.refund_requested
    assert order.status == "Cancelled"


def test_money_that_was_asked_back_already_is_not_asked_back_again() -> None:
    rows = paying()
    expire(rows)

    assert answer(examples.processed(), rows) == []


def test_a_shipment_of_a_cancelled_order_calls_an_operator() -> None:
    fulfilment, order = rows = shipping()
    answer(examples.not_shipped(), rows)

    assert answer(examples.shipment(), rows) == []

    assert fulfilment.attention == "shipment shp-1 was created after the order was cancelled"
    assert order.status == "Cancelled"


@pytest.mark.parametrize(
    ("step", "event"),
    [
        *[(step, examples.reserved()) for step in ("paying", "cancelling", "shipping", "done")],
        *[(step, SHORT) for step in ("paying", "cancelling", "shipping", "done", "closed")],
        *[(step, examples.processed()) for step in ("reserving", "shipping", "done")],
        *[
            (step, event)
            for step in ("reserving", "shipping", "done", "closed")
            for event in (examples.declined(), examples.voided(), examples.refunded())
        ],
        *[(step, examples.shipment()) for step in ("reserving", "paying", "cancelling", "done")],
        *[(step, examples.not_shipped()) for step in ("reserving", "paying", "cancelling", "done")],
        *[(step, examples.delivered()) for step in ("reserving", "shipping", "closed")],
    ],
)
def test_an_answer_that_nobody_waits_for_changes_nothing(step: str, event: Any) -> None:
    rows = STEPS[step]()
    before = state(*rows)

    assert answer(event, rows) == []

    assert state(*rows) == before
