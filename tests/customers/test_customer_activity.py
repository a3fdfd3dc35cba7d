"""What a customer's orders add up to, in whatever order they are heard of."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

from customers.models import CustomerActivity
from ecommerce.messaging.messages import Message
from tests.customers import examples
from tests.customers.examples import LOCAL, created
from tests.projecting import columns, context, interleavings, project

HOUR = timedelta(hours=1)


def activity_of(*events: Message) -> CustomerActivity:
    rows = project("customers", [(event, context()) for event in events])
    (activity,) = [row for row in rows if isinstance(row, CustomerActivity)]
    return activity


def test_the_first_order_starts_the_activity() -> None:
    assert columns(activity_of(created())) == {
        "tenant": "main",
        "customer_id": "cust-123",
        "total_orders": 1,
        "spent": {"USD": 8948},
        "currency": "USD",
        "first_order_id": "o1",
        "first_order_at": LOCAL,
        "last_order_id": "o1",
        "last_order_at": LOCAL,
    }


def test_a_cancelled_order_is_taken_off_and_stays_the_last_order() -> None:
    # given
    second = created("o2", total=500, at=LOCAL + HOUR)
    # when
    activity = activity_of(created(), second, examples.cancelled(second))
    # then
    assert (activity.total_orders, activity.total_spent) == (1, 8948)
    assert (activity.last_order_id, activity.last_order_at) == ("o2", LOCAL + HOUR)


def test_a_refund_takes_nothing_off_again() -> None:
    # when
    activity = activity_of(
        created(), examples.processed(), examples.cancelled(created()), examples.refunded()
    )
    # then
    assert (activity.total_orders, activity.total_spent) == (0, 0)


def test_what_was_spent_is_in_the_currency_of_the_first_order() -> None:
    # when
    activity = activity_of(
        created("o2", total=500, currency="EUR", at=LOCAL + HOUR),
        created("o1", total=8948, currency="USD", at=LOCAL),
    )
    # then
    assert (activity.total_orders, activity.total_spent, activity.currency) == (2, 8948, "USD")
    assert activity.spent == {"EUR": 500, "USD": 8948}


def test_activity_depends_on_the_set_of_orders_only() -> None:
    # given
    first = created("o1", total=1000)
    tied = created("o2", total=200, currency="EUR", at=LOCAL)
    last = created("o3", total=30, at=LOCAL + HOUR)
    streams: list[list[Message]] = [
        [first, examples.cancelled(first)],
        [tied],
        [last, examples.cancelled(last)],
    ]
    # when
    ends: list[dict[str, Any]] = [
        columns(activity_of(*events)) for events in interleavings(streams)
    ]
    # then
    assert len(ends) == 30
    assert all(end == ends[0] for end in ends)
    assert ends[0]["total_orders"] == 1
    assert ends[0]["spent"] == {"USD": 0, "EUR": 200}
    assert (ends[0]["first_order_id"], ends[0]["currency"]) == ("o1", "USD")
    assert ends[0]["last_order_id"] == "o3"


def test_activity_comes_right_even_when_a_dead_letter_is_replayed_late() -> None:
    # given
    events: list[Message] = [created(), examples.cancelled(created()), created("o2", total=500)]
    # when
    ends = [columns(activity_of(*order)) for order in permutations(events)]
    # then
    assert all(end == ends[0] for end in ends)
    assert (ends[0]["total_orders"], ends[0]["spent"]) == (1, {"USD": 500})
