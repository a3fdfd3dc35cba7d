"""Wrong wiring is found when a process starts, and each mistake by its id."""

from __future__ import annotations

import pytest
from django.db import models
from django.test.utils import isolate_apps
from pytest_django.fixtures import Settings

from ecommerce.messaging import registry
from ecommerce.messaging.checks import check_wiring
from ecommerce.messaging.errors import ContractError, WiringError
from ecommerce.messaging.messages import Message, contract_of, event
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.partitions import check_partitions
from ecommerce.messaging.registry import handles, performs, projects
from ecommerce.messaging.worker import Worker
from inventory.contracts import ProductCreated
from orders.contracts import CancelOrder, OrderReserved
from orders.models import Order
from payments.contracts import ChargeCard
from tests.messaging.steps import fetch, in_service

with isolate_apps("analytics"):

    class Loose(ReadModel):
        """A read model that forgot to be unique by tenant and order."""

        key = "order_id"

        order_id = models.CharField(max_length=80, unique=True)

        class Meta(ReadModel.Meta):
            app_label = "analytics"


def mistakes() -> list[tuple[str | None, str]]:
    return [(error.id, error.msg) for error in check_wiring()]


def test_the_platform_is_wired_well() -> None:
    assert mistakes() == []


def test_a_command_without_a_handler_is_found() -> None:
    registry._by_message[CancelOrder] = []
    assert mistakes() == [("messaging.E001", "orders.CancelOrder has 0 handlers in orders.")]


def test_a_command_with_two_handlers_is_found() -> None:
    @handles
    @in_service("orders")
    def cancel_twice(command: CancelOrder) -> None: ...

    assert mistakes() == [("messaging.E001", "orders.CancelOrder has 2 handlers in orders.")]


def test_a_command_that_another_service_handles_is_found() -> None:
    @handles
    @in_service("analytics")
    def meddle(command: CancelOrder) -> None: ...

    text = "analytics.meddle handles orders.CancelOrder, a command of another service."
    assert mistakes() == [("messaging.E002", text)]


def test_a_projection_of_an_aggregate_is_found() -> None:
    @projects
    @in_service("orders")
    def rewrite(event: OrderReserved, order: Order) -> None: ...

    text = "orders.rewrite is a projection and loads Order."
    assert mistakes() == [("messaging.E003", text)]


def test_a_row_of_another_service_is_found() -> None:
    @handles
    @in_service("analytics")
    def look(event: OrderReserved, order: Order) -> None: ...

    assert mistakes() == [("messaging.E004", "analytics.look loads orders.Order.")]


def test_a_row_that_is_not_unique_by_its_key_is_found() -> None:
    @projects
    @in_service("analytics")
    def loosen(event: OrderReserved, loose: Loose | None) -> None: ...

    text = "analytics.Loose is not unique by tenant and order_id."
    assert mistakes() == [("messaging.E005", text)]


def test_an_effect_of_another_service_is_found() -> None:
    @performs
    @in_service("analytics")
    def steal(command: ChargeCard) -> None: ...

    assert ("messaging.E006", "analytics.steal performs payments.ChargeCard.") in mistakes()


# At import


def test_two_handlers_of_one_name_are_refused() -> None:
    def twice() -> None:
        @handles
        @in_service("analytics")
        def note(event: OrderReserved) -> None: ...

    twice()
    with pytest.raises(WiringError, match=r"two handlers are named analytics\.note"):
        twice()


def test_a_row_that_the_message_has_no_key_for_is_refused() -> None:
    with pytest.raises(WiringError, match="ProductCreated has no field 'order_id'"):

        @handles
        @in_service("orders")
        def lost(event: ProductCreated, order: Order) -> None: ...


def test_an_effect_with_rows_is_refused() -> None:
    with pytest.raises(WiringError, match="takes only the message"):

        @performs
        @in_service("orders")
        def call(event: OrderReserved, order: Order) -> None: ...


def test_a_message_without_a_contract_is_refused() -> None:
    class Nameless(Message):
        order_id: str

    with pytest.raises(ContractError, match="Nameless has no contract"):
        contract_of(Nameless)


def test_a_contract_whose_stream_is_no_field_is_refused() -> None:
    with pytest.raises(ContractError, match="the stream field 'order_id' does not exist"):

        @event(stream="order_id")
        class Streamless(Message):
            customer_id: str


# With the database


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_database_made_for_another_number_of_partitions_is_refused(settings: Settings) -> None:
    check_partitions()
    settings.MESSAGING_PARTITIONS = 4

    with pytest.raises(WiringError, match="has 8 partitions but MESSAGING_PARTITIONS is 4"):
        Worker()


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_handler_that_the_code_has_lost_is_refused() -> None:
    Worker(["analytics"])
    fetch("analytics", "INSERT INTO {handler} VALUES ('analytics.gone', 'handles') RETURNING 1")

    with pytest.raises(WiringError, match=r"the code has no handler named analytics\.gone"):
        Worker(["analytics"])


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_new_projection_of_what_has_happened_before_is_refused_until_it_is_rebuilt() -> None:
    Worker(["orders"])
    gone = "DELETE FROM {handler} WHERE name = 'orders.catalogue' RETURNING 1"
    fetch("orders", gone)

    with pytest.raises(WiringError, match=r"run `manage\.py rebuild orders\.CatalogueItem`"):
        Worker(["orders"])
