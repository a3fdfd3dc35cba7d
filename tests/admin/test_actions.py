"""What people can do in the admin: commands, each as the API would do it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ecommerce.identity.models import Tenant, User
from ecommerce.messaging.acting import MOST_AT_ONCE
from ecommerce.messaging.bus import execute
from ecommerce.messaging.worker import Worker
from ecommerce.values import Money
from inventory import models as inventory
from inventory.contracts import CreateProduct
from orders import models as orders
from orders.contracts import CreateOrder, RequestedLine
from payments import models as payments
from payments.contracts import ProcessPayment
from tests.admin.conftest import SignIn
from tests.admin.rows import make, url

pytestmark = pytest.mark.usefixtures("transactional_db")
Act = Callable[..., list[str]]


@pytest.fixture
def clerk(staff: SignIn) -> Client:
    return staff()


def act(client: Client, rows: Any, action: str, **fields: Any) -> list[str]:
    """Fill in an action's form and send it; returns what the person is told."""
    rows = rows if isinstance(rows, list) else [rows]
    fields = {"token": uuid.uuid4(), **fields}
    sent = {"action": action, "_selected_action": [row.pk for row in rows], **fields}
    response: Any = client.post(url(type(rows[0])), sent, follow=True)
    assert response.redirect_chain, response.context_data["form"].errors
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


@pytest.fixture
def stock() -> inventory.StockItem:
    command = CreateProduct(
        product_id="scarf",
        name="Scarf",
        description="",
        price=1999,
        currency="USD",
        initial_stock=10,
    )
    execute(command, tenant="main", actor="test")
    return inventory.StockItem.objects.get()


@pytest.fixture
def order(stock: inventory.StockItem) -> orders.Order:
    Worker(["orders"]).drain(10)
    lines = (RequestedLine(product_id="scarf", quantity=1),)
    command = CreateOrder(order_id="o1", customer_id="c1", lines=lines)
    execute(command, tenant="main", actor="test")
    return orders.Order.objects.get()


@pytest.fixture
def payment() -> payments.Payment:
    command = ProcessPayment(
        order_id="o1", customer_id="c1", amount=Money(1999, "USD"), method="card_approved"
    )
    execute(command, tenant="main", actor="test")
    Worker(["payments"]).drain(10)
    return payments.Payment.objects.get()


def last_actor(tables: Any) -> str:
    return str(tables.log.objects.latest("position").actor)


def test_an_action_first_asks_for_what_it_needs(clerk: Client, stock: Any) -> None:
    response = clerk.post(
        url(inventory.StockItem), {"action": "restock", "_selected_action": stock.pk}
    )

    assert response.status_code == 200
    assert "Units that arrived." in response.content.decode()
    assert inventory.StockItem.objects.get().on_hand == 10


def test_restocking_adds_units_in_the_persons_name(clerk: Client, stock: Any) -> None:
    told = act(clerk, stock, "restock", quantity=5)

    assert told == ["Restock: done (scarf: 15 of 15 available)."]
    assert inventory.StockItem.objects.get().on_hand == 15
    assert last_actor(inventory.tables) == f"user:{User.objects.get().pk}"


def test_a_form_that_is_sent_twice_restocks_once(clerk: Client, stock: Any) -> None:
    token = uuid.uuid4()
    act(clerk, stock, "restock", quantity=5, token=token)

    assert act(clerk, stock, "restock", quantity=5, token=token) != []
    assert inventory.StockItem.objects.get().on_hand == 15


@pytest.mark.parametrize("quantity", ["0", "-1", "", "many"])
def test_a_quantity_that_is_none_is_asked_for_again(
    clerk: Client, stock: Any, quantity: str
) -> None:
    fields = {"token": uuid.uuid4(), "quantity": quantity}
    sent = {"action": "restock", "_selected_action": stock.pk, **fields}
    response: Any = clerk.post(url(inventory.StockItem), sent)

    assert response.status_code == 200
    assert "quantity" in response.context_data["form"].errors
    assert inventory.StockItem.objects.get().on_hand == 10


def test_a_count_is_corrected_with_the_reason(clerk: Client, stock: Any) -> None:
    act(clerk, stock, "adjust", change=-3, reason="moths")

    assert inventory.StockItem.objects.get().on_hand == 7
    assert "moths" in inventory.tables.log._default_manager.latest("position").payload


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (-11, "Scarf: 10 of 10 available: only 10 units of scarf are not held by orders."),
        (0, "Scarf: 10 of 10 available: change must not be 0 or beyond 1000000000."),
    ],
)
def test_a_refusal_is_shown_and_changes_nothing(
    clerk: Client, stock: Any, change: int, told: str
) -> None:
    assert act(clerk, stock, "adjust", change=change, reason="moths") == [told]
    assert inventory.StockItem.objects.get().on_hand == 10


def test_an_order_is_cancelled_once(clerk: Client, order: orders.Order) -> None:
    assert act(clerk, order, "cancel") == ["Cancel order: done (order o1)."]
    assert orders.Order.objects.get().status == "Cancelled"

    assert act(clerk, order, "cancel") == ["Order o1: order o1 is Cancelled already."]
    assert last_actor(orders.tables) == f"user:{User.objects.get().pk}"


def test_a_payment_is_refunded_once(clerk: Client, payment: payments.Payment) -> None:
    told = act(clerk, payment, "refund", reason="goodwill")
    Worker(["payments"]).drain(10)

    assert told == ["Void or refund: done (pay-o1: Cancelling)."]
    payment.refresh_from_db()
    assert (payment.status, payment.reason) == ("Refunded", "goodwill")
    assert act(clerk, payment, "refund", reason="again") == [
        "Pay-o1: Refunded: there was nothing to do."
    ]


def test_an_action_on_several_rows_tells_of_each(clerk: Client, order: orders.Order) -> None:
    lines = (RequestedLine(product_id="scarf", quantity=1),)
    command = CreateOrder(order_id="o2", customer_id="c1", lines=lines)
    execute(command, tenant="main", actor="test")
    act(clerk, order, "cancel")

    told = act(clerk, list(orders.Order.objects.all()), "cancel")

    assert set(told) == {
        "Order o1: order o1 is Cancelled already.",
        "Cancel order: done (order o2).",
    }


def test_too_many_rows_at_once_are_left_alone(admin_client: Client) -> None:
    items = [make(inventory.StockItem, n) for n in range(1, MOST_AT_ONCE + 2)]

    told = act(admin_client, items, "restock", quantity=1)

    assert told == [f"Select {MOST_AT_ONCE} rows at most."]
    assert not inventory.tables.log._default_manager.exists()


@pytest.mark.parametrize("superuser", [True, False])
def test_only_superusers_act_on_another_tenants_rows(
    superuser: bool, stock: Any, staff: SignIn
) -> None:
    stranger = staff("other")
    User.objects.update(is_superuser=superuser)
    sent = {
        "action": "restock",
        "_selected_action": stock.pk,
        "quantity": 5,
        "token": uuid.uuid4(),
    }

    stranger.post(url(inventory.StockItem), sent)

    assert inventory.StockItem.objects.get().on_hand == (15 if superuser else 10)
    assert Tenant.objects.count() == 2


def test_who_may_only_look_is_offered_no_actions(staff: SignIn, stock: Any) -> None:
    viewer = staff(is_staff=False, reads_all=True)
    sent = {"action": "restock", "_selected_action": stock.pk, "quantity": 5, "token": uuid.uuid4()}

    assert viewer.post(url(inventory.StockItem), sent).status_code == 302
    assert inventory.StockItem.objects.get().on_hand == 10
