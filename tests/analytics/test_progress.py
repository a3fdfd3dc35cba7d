"""How far an order came, in whatever order its steps are heard."""

from __future__ import annotations

from itertools import permutations

import pytest

from analytics.models import STEPS, PlacedOrder
from analytics.pages.orders import funnel
from analytics.queries import Standing
from ecommerce.messaging.messages import Message
from tests.analytics.examples import cancelled, placed, project, steps
from tests.projecting import state


def row_of(*events: Message) -> PlacedOrder:
    (row,) = [row for row in project(events) if isinstance(row, PlacedOrder)]
    return row


@pytest.mark.parametrize(("count", "step"), list(enumerate(STEPS)))
def test_an_order_has_come_to_the_last_step_that_was_heard(count: int, step: str) -> None:
    row = row_of(placed(), *steps(count=count))

    assert STEPS[row.reached] == step
    assert (row.customer_id, row.currency, str(row.day)) == ("cust-1", "USD", "2026-03-02")


def test_a_delivered_order_ends_the_same_in_every_order_of_its_events() -> None:
    ends = [state(project(events)) for events in permutations([placed(), *steps()])]

    assert len(ends) == 120
    assert all(end == ends[0] for end in ends)


def test_a_cancelled_order_ends_the_same_in_every_order_of_its_events() -> None:
    order = placed()
    events = [order, *steps(count=2), cancelled(order, reason="shipment_failed")]

    ends = [state(project(each)) for each in permutations(events)]

    assert len(ends) == 24
    assert all(end == ends[0] for end in ends)
    row = row_of(*events)
    assert (STEPS[row.reached], row.cancel_reason) == ("paid", "shipment_failed")


def test_an_order_whose_placing_is_not_heard_yet_counts_nowhere() -> None:
    row = row_of(*steps(count=1))

    assert (row.day, row.currency, row.customer_id) == (None, "", "")


def test_the_funnel_says_of_each_step_who_went_on_who_waits_and_who_left() -> None:
    found = [
        Standing(0, "", 1),
        Standing(0, "insufficient_stock", 2),
        Standing(1, "payment_declined", 3),
        Standing(1, "customer_request", 1),
        Standing(2, "", 4),
        Standing(3, "", 5),
        Standing(4, "", 24),
    ]

    steps = funnel(found)

    assert [(s.name, s.reached, s.went_on, s.waiting, s.left_here) for s in steps] == [
        ("Placed", 40, 37, 1, 2),
        ("Stock held", 37, 33, 0, 4),
        ("Paid", 33, 29, 4, 0),
        ("Shipped", 29, 24, 5, 0),
        ("Delivered", 24, 24, 0, 0),
    ]
    assert steps[1].left == (
        ("The payment was declined", 3),
        ("The customer changed their mind", 1),
    )
    assert steps[4].of_all == 0.6


def test_a_funnel_without_orders_is_empty() -> None:
    assert [(s.reached, s.of_all) for s in funnel([])] == [(0, None)] * 5
