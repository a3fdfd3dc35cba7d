"""What must never be found in the orders service's tables, and that it would be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from orders.models import Fulfilment, Order
from orders.queries import INVARIANTS
from tests.orders.examples import paying, pending, shipped, shipping

pytestmark = pytest.mark.django_db

ADD_UP, ENDED, STUCK, STATUS = (name for name, _ in INVARIANTS)


def offences() -> dict[str, int]:
    """How many rows offend against each invariant; those that hold are left out."""
    found = {}
    with connections[Order.objects.db].cursor() as cursor:
        for name, query in INVARIANTS:
            cursor.execute(query)
            found[name] = len(cursor.fetchall())
    return {name: number for name, number in found.items() if number}


def save(rows: tuple[Fulfilment, Order], order_id: str = "o1", **changes: Any) -> None:
    """Store an order and its saga; the examples' deadlines are long past or far ahead."""
    fulfilment, order = rows
    fulfilment.order_id = order.order_id = order_id
    if fulfilment.deadline_at is not None:
        fulfilment.deadline_at += timedelta(days=10_000)
    for name, value in changes.items():
        setattr(fulfilment if hasattr(fulfilment, name) else order, name, value)
    fulfilment.save()
    order.save()


def test_orders_in_every_step_keep_the_invariants() -> None:
    for number, rows in enumerate((pending(), paying(), shipping(), shipped())):
        save(rows, order_id=f"o{number}")

    assert offences() == {}


def test_amounts_that_are_not_those_of_the_lines_are_found() -> None:
    save(pending(), subtotal=8949, total=8949)

    assert offences() == {ADD_UP: 1}


def test_an_order_whose_deadline_passed_unnoticed_is_found() -> None:
    save(paying(), deadline_at=None)

    assert offences() == {STUCK: 1}


def test_an_order_that_an_operator_looks_after_is_not_stuck() -> None:
    save(shipping(), deadline_at=None, attention="shipping had not answered")

    assert offences() == {}


def test_an_order_that_shows_another_status_than_its_saga_is_found() -> None:
    save(shipping(), status="Shipped")

    assert offences() == {STATUS: 1}


def test_an_order_without_a_saga_is_found() -> None:
    _, order = pending()
    order.save()

    assert offences() == {STATUS: 1}
