"""Wrong wiring is found when a process starts, and each mistake by its id."""

from __future__ import annotations

import inspect
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps
from msgspec import Struct
from pytest_django.fixtures import Settings

from ecommerce.messaging import checks, declarations, messages, policies, registry
from ecommerce.messaging.checks import check_wiring
from ecommerce.messaging.deadlines import deadline
from ecommerce.messaging.errors import ContractError, WiringError
from ecommerce.messaging.messages import FrozenMeta, Message, Personal, contract_of, event
from ecommerce.messaging.models import Aggregate, ReadModel
from ecommerce.messaging.partitions import check_partitions
from ecommerce.messaging.registry import handles, performs, projects
from ecommerce.messaging.schedules import schedule
from ecommerce.messaging.services import services
from ecommerce.messaging.worker import Worker
from ecommerce.values import Money
from inventory.contracts import ProductCreated
from orders.contracts import CancelOrder, OrderReserved
from orders.models import CatalogueItem, Fulfilment, Order
from payments.contracts import ChargeCard, PaymentVoided, VoidCharge
from payments.models import Payment
from tests.messaging.steps import fetch, in_service

with isolate_apps("analytics"):

    class Loose(ReadModel):
        """A read model that forgot to be unique by tenant and order."""

        key = "order_id"

        order_id = models.CharField(max_length=80, unique=True)

        class Meta(ReadModel.Meta):
            app_label = "analytics"


class Home(Struct):
    street: Personal[str]


class Parcel(Struct):
    homes: list[Home]


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


def test_a_projection_that_says_it_sends_messages_is_found() -> None:
    @projects
    @in_service("orders")
    def shout(event: OrderReserved) -> list[Message]:
        return []

    assert mistakes() == [("messaging.E007", "orders.shout returns Message.")]


def test_a_handler_that_says_it_adds_read_model_rows_is_found() -> None:
    @handles
    @in_service("orders")
    def list_again(event: OrderReserved) -> list[Message | CatalogueItem]:
        return []

    assert mistakes() == [("messaging.E007", "orders.list_again returns CatalogueItem.")]


def test_a_handler_that_says_it_adds_rows_or_events_of_another_service_is_found() -> None:
    @handles
    @in_service("analytics")
    def meddle(event: OrderReserved) -> tuple[Order, ProductCreated, CancelOrder] | None: ...

    assert mistakes() == [
        ("messaging.E007", "analytics.meddle returns Order."),
        ("messaging.E007", "analytics.meddle returns ProductCreated."),
    ]


def test_an_effect_handler_that_says_it_adds_rows_is_found() -> None:
    registry._handlers.pop("payments.charge_card")
    registry._by_message[ChargeCard] = []

    @performs
    @in_service("payments")
    def charge_card(command: ChargeCard) -> Payment:
        return Payment()

    assert mistakes() == [("messaging.E007", "payments.charge_card returns Payment.")]


def test_an_effect_handler_that_is_never_tried_again_is_found() -> None:
    registry._handlers.pop("payments.charge_card")
    registry._by_message[ChargeCard] = []

    @performs(retry=())
    @in_service("payments")
    def charge_card(command: ChargeCard) -> None: ...

    text = "payments.charge_card gives up at the first fault of what it calls."
    assert mistakes() == [("messaging.E010", text)]


def test_a_handler_of_no_installed_service_is_found() -> None:
    @handles
    @in_service("billing")
    def bill(event: OrderReserved) -> None: ...

    assert mistakes() == [("messaging.E008", "billing.bill belongs to no installed service.")]


def test_a_name_that_does_not_fit_its_column_is_found() -> None:
    def long(event: OrderReserved) -> None: ...

    long.__name__ = "x" * 120
    handles(in_service("orders")(long))

    ((id_, text),) = mistakes()
    assert id_ == "messaging.E009"
    assert text.endswith("has 127 characters; 120 are stored.")


def test_personal_data_within_a_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_by_name", dict(messages._by_name))
    fields = {"order_id": str, "parcels": tuple[Parcel, ...] | None}
    declared = {"__module__": "analytics.contracts", "__annotations__": fields}
    sent: Any = FrozenMeta("Sent", (Message,), declared)
    event(stream="order_id")(sent)

    text = "analytics.Sent.parcels has personal data within."
    assert mistakes() == [("messaging.E011", text)]


def test_a_read_model_that_no_projection_keeps_is_found() -> None:
    kept = {n: h for n, h in registry._handlers.items() if n != "orders.catalogue"}
    registry._handlers.clear()
    registry._handlers.update(kept)

    text = "orders.CatalogueItem is a read model that no projection keeps."
    assert mistakes() == [("messaging.E012", text)]


def test_an_aggregate_that_events_do_not_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Order, "apply", Aggregate.apply)

    assert mistakes() == [("messaging.E013", "orders.Order is an aggregate without `apply`.")]


@pytest.mark.parametrize(("column", "text"), [
    ("expires_on", "The deadline orders.Order.expires_on is in no column."),
    ("created_at", "The deadline orders.Order.created_at is not in a nullable DateTimeField."),
    ("status", "The deadline orders.Order.status is not in a nullable DateTimeField."),
])  # fmt: skip
def test_a_deadline_in_a_column_that_cannot_hold_one_is_found(column: str, text: str) -> None:
    deadline(Order, column=column, message=lambda row: CancelOrder(order_id=row.order_id))

    assert mistakes() == [("messaging.E014", text)]


def test_a_deadline_in_a_column_without_an_index_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fulfilment._meta, "indexes", [])

    text = "The deadline orders.Fulfilment.deadline_at is not indexed."
    assert mistakes() == [("messaging.E014", text)]


def test_two_deadlines_in_one_column_are_found() -> None:
    cancel = CancelOrder(order_id="o1")
    deadline(Fulfilment, column="deadline_at", message=lambda _: cancel)

    text = "orders.Fulfilment.deadline_at has two deadlines."
    assert mistakes() == [("messaging.E015", text)]


def fail(at: datetime) -> Message:
    raise LookupError("the code is wrong")


@pytest.mark.parametrize(("message", "wrong"), [
    (fail, "cannot make its message: LookupError: the code is wrong"),
    (lambda at: at, "cannot make its message: ContractError: datetime has no contract: decorate it in contracts.py"),
    (lambda _: PaymentVoided(order_id="o1", payment_id="p1"), "sends payments.PaymentVoided"),
    (lambda _: VoidCharge(order_id="o1", key="", refund_key="", amount=Money(1, "USD")),
     "sends payments.VoidCharge"),
])  # fmt: skip
def test_a_schedule_of_what_nobody_could_take_is_found(message: Any, wrong: str) -> None:
    schedule("orders.sweep", "0 * * * *", message=message)

    assert mistakes() == [("messaging.E016", f"The schedule orders.sweep {wrong}.")]


def test_a_schedule_of_no_installed_service_is_found() -> None:
    schedule("sweep", "0 * * * *", message=lambda _: CancelOrder(order_id="o1"))

    assert mistakes() == [("messaging.E008", "The schedule sweep belongs to no installed service.")]


def test_a_schedule_of_a_command_for_a_handler_or_an_own_event_is_none_of_these() -> None:
    schedule("orders.sweep", "0 * * * *", message=lambda _: CancelOrder(order_id="o1"))
    schedule("orders.tell", "0 * * * *", message=lambda _: OrderReserved(order_id="o1"))

    assert mistakes() == []


def test_a_service_without_invariants_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("orders.queries.INVARIANTS")

    text = "orders has no INVARIANTS in its queries."
    assert mistakes() == [("messaging.E017", text)]


@pytest.mark.parametrize("number", [0, -1, 1025, "8", None])
def test_an_impossible_number_of_partitions_is_found(settings: Settings, number: object) -> None:
    settings.MESSAGING_PARTITIONS = number

    assert mistakes() == [("messaging.E018", f"MESSAGING_PARTITIONS is {number!r}.")]


def test_a_service_or_database_that_does_not_exist_is_found(settings: Settings) -> None:
    everywhere = dict(settings.SERVICE_DATABASES)
    settings.SERVICE_DATABASES = everywhere | {"orders": "nowhere", "billing": "default"}

    assert mistakes() == [
        ("messaging.E019", "SERVICE_DATABASES puts 'orders' into 'nowhere'."),
        ("messaging.E019", "SERVICE_DATABASES puts 'billing' into 'default'."),
    ]


@pytest.mark.parametrize("path", ["nowhere.wake", "ecommerce.settings.BASE_DIR", "wake"])
def test_a_waker_that_is_no_function_is_found(settings: Settings, path: str) -> None:
    settings.MESSAGING_WAKE = path

    text = f"MESSAGING_WAKE is {path!r}, which is not a function."
    assert mistakes() == [("messaging.E020", text)]


def test_every_check_is_in_the_list_and_has_a_test() -> None:
    listed = set(re.findall(r"^\| (messaging\.E\d+) \|", checks.__doc__ or "", re.MULTILINE))
    code = "".join(inspect.getsource(module) for module in (checks, declarations, policies))
    used = set(re.findall(r'id="(messaging\.E\d+)"', code))
    tests = [Path(__file__), Path(__file__).with_name("test_policies.py")]
    tested = set(re.findall(r"messaging\.E\d+", "".join(path.read_text() for path in tests)))

    assert listed == used
    assert used <= tested


# At import


def test_a_parameter_that_is_neither_a_row_nor_the_context_is_refused() -> None:
    with pytest.raises(WiringError, match="parameter 'count' must be a Row"):

        @handles
        @in_service("orders")
        def reckon(event: OrderReserved, count: int) -> None: ...


def test_a_contract_with_personal_data_of_nobody_is_refused() -> None:
    with pytest.raises(ContractError, match=r"has personal fields .* say person=<field>"):

        @event(stream="order_id")
        class Nobodys(Message):
            order_id: str
            name: Personal[str]


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
    check_partitions(services())
    settings.MESSAGING_PARTITIONS = 4

    with pytest.raises(WiringError, match="has 64 partitions but MESSAGING_PARTITIONS is 4"):
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
