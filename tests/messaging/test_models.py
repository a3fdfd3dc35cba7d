"""New rows hold what Django would have given them."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import models

from ecommerce.messaging.models import Row
from inventory.models import Reservation
from orders.models import Order

ROWS = [model for model in apps.get_models() if issubclass(model, Row)]


def contents(row: Row) -> dict[str, object]:
    """What a row holds. Of what is made anew for each, such as its id, only the type can be equal."""
    fields = row._meta.concrete_fields
    made = {f.attname for f in fields if f.has_default() and callable(f.default)}
    found = {name: value for name, value in vars(row).items() if name != "_state"}
    return {name: type(value) if name in made else value for name, value in found.items()}


@pytest.mark.parametrize("model", ROWS, ids=lambda model: str(model._meta.label))
def test_a_new_row_is_as_django_makes_it(model: type[Row]) -> None:
    djangos = model.__new__(model)
    models.Model.__init__(djangos, tenant="north")

    row = model(tenant="north")

    assert contents(row) == contents(djangos)
    assert row._state.adding


def test_what_is_made_anew_is_nobody_elses() -> None:
    one, other = Reservation(), Reservation()

    one.lines.append("changed")

    assert other.lines == []
    assert one.id != other.id


def test_a_name_that_is_no_column_is_left_to_django() -> None:
    order = Order(order_id="o1")
    unknown: dict[str, object] = {"colour": "red"}

    assert Order(pk=order.id, order_id="o1") == order
    with pytest.raises(TypeError, match="colour"):
        Order(**unknown)
