"""Placing an order: what is checked, what it costs, what it begins."""

from __future__ import annotations

import pytest

from ecommerce.messaging.errors import Conflict, Invalid
from inventory.contracts import ReserveInventory, WantedLine
from orders.contracts import CreateOrder
from orders.handlers import create_order
from orders.models import CatalogueItem, Fulfilment, Order
from tests.orders.examples import (
    EXPIRY,
    TOTALS,
    catalogue,
    context,
    created,
    new_order,
    pending,
    state,
    wanted,
)


def test_an_order_is_placed_at_the_catalogues_prices_and_asks_for_its_stock() -> None:
    order, fulfilment, *messages = create_order(new_order(), catalogue(), None, context())

    assert messages == [
        created(),
        ReserveInventory(
            order_id="o1",
            lines=(
                WantedLine(line_id="1", product_id="prod-456", quantity=2),
                WantedLine(line_id="2", product_id="prod-789", quantity=1),
            ),
            expires_at=EXPIRY,
        ),
    ]
    assert isinstance(order, Order)
    assert isinstance(fulfilment, Fulfilment)
    assert (order.status, order.totals) == ("Pending", TOTALS)
    assert (fulfilment.order_id, fulfilment.step) == ("o1", "reserving")
    assert fulfilment.deadline_at == EXPIRY


def test_the_order_carries_the_business_day_of_its_tenant() -> None:
    order, *_ = create_order(new_order(), catalogue(), None, context())

    assert isinstance(order, Order)
    assert order.created_at.isoformat() == "2026-03-02T00:30:00+01:00"


def test_the_same_product_may_stand_in_several_lines() -> None:
    command = new_order(wanted(quantity=1), wanted(quantity=3))

    order, *_ = create_order(command, catalogue(), None, context())

    assert isinstance(order, Order)
    assert [(line.line_id, line.quantity) for line in order.order_lines] == [("1", 1), ("2", 3)]
    assert order.product_ids == ("prod-456",)
    assert order.total == 4 * 1999


@pytest.mark.parametrize("number_of_lines", [0, 101])
def test_an_order_has_between_1_and_100_lines(number_of_lines: int) -> None:
    lines = (wanted(),) * number_of_lines
    command = CreateOrder(order_id="o1", customer_id="cust-123", lines=lines)

    with pytest.raises(Invalid) as refusal:
        create_order(command, catalogue(), None, context())

    assert refusal.value.field == "items"


@pytest.mark.parametrize("quantity", [-1, 0, 1001])
def test_a_quantity_is_between_1_and_1000(quantity: int) -> None:
    with pytest.raises(Invalid) as refusal:
        create_order(new_order(wanted(), wanted(quantity=quantity)), catalogue(), None, context())

    assert refusal.value.field == "items.1.quantity"


def test_1000_units_in_100_lines_are_taken() -> None:
    command = new_order(*[wanted(quantity=1000)] * 100)

    order, *_ = create_order(command, catalogue(), None, context())

    assert isinstance(order, Order)
    assert order.total == 100 * 1000 * 1999


def test_a_product_that_is_not_in_the_catalogue_is_refused_by_name() -> None:
    with pytest.raises(Invalid) as refusal:
        create_order(new_order(wanted(), wanted("prod-0")), catalogue(), None, context())

    assert refusal.value.field == "items.1.productId"
    assert refusal.value.code == "unknown-product"
    assert "prod-0" in refusal.value.detail


def test_a_product_that_is_no_longer_sold_is_refused() -> None:
    gone = CatalogueItem(product_id="prod-9", name="Gone", price=1, currency="USD", active=False)

    with pytest.raises(Invalid) as refusal:
        create_order(new_order(wanted("prod-9")), catalogue(gone=gone), None, context())

    assert refusal.value.field == "items.0.productId"


def test_products_of_two_currencies_do_not_go_into_one_order() -> None:
    euro = CatalogueItem(product_id="prod-9", name="Mug", price=1, currency="EUR")

    command = new_order(wanted(), wanted("prod-9"))

    with pytest.raises(Invalid) as refusal:
        create_order(command, catalogue(euro=euro), None, context())

    assert refusal.value.field == "items.1.productId"
    assert refusal.value.code == "mixed-currencies"


def test_prices_that_agree_with_the_catalogue_are_taken() -> None:
    command = new_order(wanted(price=1999), wanted("prod-789", 1), expected_total=8948)

    order, *_ = create_order(command, catalogue(), None, context())

    assert isinstance(order, Order)
    assert order.total == 8948


@pytest.mark.parametrize(
    "command",
    [
        new_order(wanted(price=1998), wanted("prod-789", 1, 4950)),
        new_order(wanted(price=0), wanted("prod-789", 1)),
        new_order(expected_total=8947),
        new_order(expected_total=0),
    ],
)
def test_a_price_that_has_changed_is_refused_with_the_current_prices(command: CreateOrder) -> None:
    with pytest.raises(Conflict) as refusal:
        create_order(command, catalogue(), None, context())

    assert refusal.value.code == "price-changed"
    assert {name: str(value) for name, value in refusal.value.extra.items() if name != "items"} == {
        "currency": "USD",
        "totalAmount": "89.48",
    }
    assert [
        (item["productId"], str(item["unitPrice"])) for item in refusal.value.extra["items"]
    ] == [("prod-456", "19.99"), ("prod-789", "49.5")]


def test_an_order_id_is_used_once() -> None:
    fulfilment, order = pending()
    before = state(fulfilment, order)

    with pytest.raises(Conflict) as refusal:
        create_order(new_order(), catalogue(), order, context())

    assert refusal.value.code == "order-exists"
    assert state(fulfilment, order) == before
