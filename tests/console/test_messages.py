"""Search by an id, and one message with its cause, its effects and its deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ecommerce.messaging import inspection
from ecommerce.messaging.database import connect
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.services import service
from tests.admin import rows
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/messages"


@pytest.fixture(autouse=True)
def _quick_delivery(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0


@pytest.fixture
def delivered(transactional_db: None) -> None:
    """An order that went through."""
    open_shop()
    place("one")
    settle()


def logged(label: str, name: str) -> Any:
    return service(label).tables.log._default_manager.get(name=name, stream="order/one")


def address(entry: Any) -> str:
    return f"{PAGE}/{entry._meta.app_label}/{entry.message_id}"


# Search


def test_an_orders_id_leads_to_the_order(operator: Client, delivered: None) -> None:
    answer = operator.get(PAGE, {"q": " one "})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/console/orders/one")


def test_a_messages_id_leads_to_the_message(operator: Client, delivered: None) -> None:
    entry = logged("orders", "orders.OrderPaid")

    answer = operator.get(PAGE, {"q": str(entry.message_id)})

    assert (answer.status_code, answer.headers["Location"]) == (302, address(entry))


def test_the_id_of_a_command_that_somebody_executed_leads_to_its_delivery(
    operator: Client, delivered: None
) -> None:
    command = logged("orders", "orders.OrderCreated").cause_id

    answer = operator.get(PAGE, {"q": str(command)}, follow=True)

    assert answer.redirect_chain[-1][0] == f"{PAGE}/orders/{command}"
    assert "orders.create_order" in answer.content.decode()


def test_a_requests_id_finds_all_that_it_set_off(operator: Client, delivered: None) -> None:
    together = logged("orders", "orders.OrderCreated").correlation_id

    text = operator.get(PAGE, {"q": str(together)}).content.decode()

    for name in ("orders.OrderCreated", "inventory.InventoryReserved", "payments.PaymentProcessed"):
        assert name in text


def test_a_customers_id_finds_their_orders(operator: Client, delivered: None) -> None:
    place("two", customer="cust-2")
    settle()

    text = operator.get(PAGE, {"q": "cust-1"}).content.decode()

    assert "/console/orders/one" in text
    assert "/console/orders/two" not in text


UNKNOWN = ("0192f0c1-2b3c-7d4e-8f50-617283940a5b", "5f0c2a8e-9d3b-4c61-a7e4-1b2c3d4e5f60")
"""An id that nobody made, as messages have them and as requests may bring them."""


@pytest.mark.parametrize("words", ["nothing", "a\0b", *UNKNOWN, "x" * 500])
def test_an_unknown_id_finds_nothing_and_says_so(operator: Client, words: str) -> None:
    answer = operator.get(PAGE, {"q": words})

    assert answer.status_code == 200
    assert "Nothing has this id" in answer.content.decode()


def test_without_an_id_the_newest_messages_are_listed(operator: Client, delivered: None) -> None:
    text = operator.get(PAGE).content.decode()

    assert "orders.OrderDelivered" in text


def test_another_shop_finds_none_of_it(with_scopes: Callable[..., Client], delivered: None) -> None:
    stranger = with_scopes("operations", tenant="other")
    entry = logged("orders", "orders.OrderPaid")
    command = logged("orders", "orders.OrderCreated").cause_id

    for words in ("one", "cust-1", entry.message_id, entry.correlation_id, command):
        assert "Nothing has this id" in stranger.get(PAGE, {"q": str(words)}).content.decode()
    assert "orders.Order" not in stranger.get(PAGE).content.decode()
    for found in (address(entry), f"{PAGE}/orders/{command}"):
        assert stranger.get(found).status_code == 404


def test_a_message_is_found_wherever_it_stands_in_a_long_log(
    delivered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is halved until a short stretch is left."""
    monkeypatch.setattr(inspection, "NEAR", 2)
    for entry in service("orders").tables.log._default_manager.all():
        found = inspection.message(entry.tenant, entry.message_id)
        assert found is not None
        assert found.name == entry.name


def test_control_outside_of_its_time_a_message_is_not_looked_for(
    delivered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "NEAR", 2)
    entry = logged("orders", "orders.OrderPaid")
    before = inspection.made(uuid.UUID(int=entry.message_id.int - (3600_000 << 80)))

    assert (
        inspection._messages("main", before, "message_id = %(id)b::uuid", id=entry.message_id) == []
    )


def test_a_timer_that_was_sent_much_later_than_it_was_made_is_found(
    delivered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "NEAR", 2)
    late = uuid.UUID(int=uuid7().int - (86_400_000 << 80))
    with connect("default") as conn:
        conn.execute(
            """INSERT INTO orders_log (message_id, tenant, stream, partition, name, contract, payload,
                                       correlation_id, actor, recorded_at)
               SELECT %b::uuid, tenant, stream, partition, name, contract, payload, correlation_id,
                      actor, messaging_now() FROM orders_log WHERE name = 'inventory.ReserveInventory'""",
            (late,),
        )
    assert inspection.message("main", late) is None
    settle()

    found = inspection.message("main", late)

    assert found is not None
    assert found.name == "inventory.ReserveInventory"


# One message


def test_a_message_shows_content_cause_effects_and_deliveries(
    operator: Client, delivered: None
) -> None:
    entry = logged("inventory", "inventory.InventoryReserved")
    cause = logged("orders", "inventory.ReserveInventory")

    text = operator.get(address(entry)).content.decode()

    assert "&quot;order_id&quot;: &quot;one&quot;" in text
    assert address(cause) in text
    assert "orders.inventory_answered" in text
    assert "orders.OrderReserved" in text
    assert "payments.ProcessPayment" in text
    assert str(entry.correlation_id) in text


def test_what_is_about_a_person_is_for_those_who_may_read_customers(
    with_scopes: Callable[..., Client], delivered: None
) -> None:
    entry = logged("orders", "orders.OrderCreated")

    plain = with_scopes("operations").get(address(entry)).content.decode()
    trusted = with_scopes("operations", "customers:read").get(address(entry)).content.decode()

    assert "Harbor Street" not in plain
    assert "callers who may read customers" in plain
    assert "Harbor Street" in trusted


def test_a_message_that_is_asked_for_under_another_service_leads_to_its_own(
    operator: Client, delivered: None
) -> None:
    entry = logged("orders", "orders.OrderPaid")

    answer = operator.get(f"{PAGE}/payments/{entry.message_id}")

    assert (answer.status_code, answer.headers["Location"]) == (302, address(entry))


@pytest.mark.parametrize("message_id", ["nonsense", "01990000-0000-7000-8000-000000000000"])
def test_a_message_that_does_not_exist_is_not_found(operator: Client, message_id: str) -> None:
    assert operator.get(f"{PAGE}/orders/{message_id}").status_code == 404


def test_what_is_parked_or_dead_is_said(operator: Client, delivered: None) -> None:
    entry = logged("orders", "orders.OrderPaid")
    tables = service("customers").tables
    given = {"message_id": entry.message_id, "attempts": 2}
    rows.make(tables.parked, 1, handler="customers.one", error="ValueError: later", **given)
    rows.make(tables.dead, 1, handler="customers.two", error="ValueError: never", **given)
    rows.make(tables.dead, 2, handler="customers.three", error="secret", tenant="other", **given)

    text = operator.get(address(entry)).content.decode()

    assert "ValueError: later" in text
    assert "ValueError: never" in text
    assert "secret" not in text


def test_a_dead_letter_is_shown_with_what_it_says(operator: Client) -> None:
    letter = rows.make(service("orders").tables.dead, message_id=uuid7())

    text = operator.get(f"{PAGE}/orders/{letter.message_id}").content.decode()

    assert "Dead letter" in text


def test_the_pages_cost_the_same_however_much_there_is(operator: Client, delivered: None) -> None:
    entry = logged("orders", "orders.OrderPaid")
    pages = [(PAGE, {}), (PAGE, {"q": str(entry.correlation_id)}), (address(entry), {})]
    few = [statements(operator, *page) for page in pages]
    for number in range(5):
        place(f"order-{number}")
    settle()

    assert [statements(operator, *page) for page in pages] == few
    assert max(few) <= 15


def statements(client: Client, address: str, query: dict[str, str]) -> int:
    client.get(address, query)
    with counted() as sent:
        assert client.get(address, query).status_code == 200
    return len(sent)


def test_a_log_is_read_along_its_key(delivered: None) -> None:
    begin, end = inspection.made(uuid7())
    values = {"tenant": "main", "id": uuid7(), "begin": begin, "end": end}
    branch = inspection._branch(service("orders"), "log", "message_id = %(id)b::uuid")

    with connect("default") as conn:
        plan = "\n".join(row[0] for row in conn.execute(f"EXPLAIN {branch}", values))

    assert "Seq Scan on orders_log " not in plan
