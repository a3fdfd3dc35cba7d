"""The whole process against small models of the other services, in every order of things.

Each service gets its commands in the order they were sent and answers in the order it decided;
between services anything may overtake anything. The customer cancels and deadlines pass at any
moment, and answers come twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.messages import Message, contract_of
from ecommerce.messaging.models import Row
from inventory.contracts import (
    CommitInventory,
    InventoryInsufficient,
    ReleaseInventory,
    ReserveInventory,
)
from orders import saga
from orders.contracts import ExpireOrder
from orders.handlers import create_order
from orders.models import Fulfilment, Order
from payments.contracts import ProcessPayment, RefundPayment
from shipping.contracts import CreateShipment
from tests.orders import examples
from tests.orders.examples import NOW, catalogue, context, new_order, state

STATUS_OF_STEP = {
    "reserving": {"Pending"},
    "paying": {"Reserved"},
    "cancelling": {"Cancelling"},
    "shipping": {"Paid"},
    "done": {"Shipped", "Delivered"},
    "closed": {"Cancelled"},
}


class Inventory:
    """Holds the order's stock, or refuses it; a release forbids a later reservation."""

    def __init__(self, *, enough: bool) -> None:
        self.enough = enough
        self.stock = "none"

    def take(self, command: Any) -> list[Message]:
        match command, self.stock:
            case ReserveInventory(), "none" if self.enough:
                self.stock = "held"
                return [examples.reserved()]
            case ReserveInventory(), _:
                return [InventoryInsufficient(order_id="o1", shortages=())]
            case ReleaseInventory(), "none" | "held":
                self.stock = "released"
            case CommitInventory(), "held":
                self.stock = "committed"
            case CommitInventory(), other:
                raise AssertionError(f"stock is {other} and should be committed")
        return []

    def work(self) -> list[Callable[[], list[Message]]]:
        return []


class Payments:
    """Charges a card outside; `money` is what the gateway holds."""

    def __init__(self, *, approves: bool) -> None:
        self.approves = approves
        self.status = "none"
        self.charging = self.settling = self.barred = self.money = self.moved = False

    def take(self, command: Any) -> list[Message]:
        match command, self.status:
            case ProcessPayment(), "none":
                self.status, self.charging = "requested", True
            case RefundPayment(), "none":
                self.status = "voided"
                return [examples.voided()]
            case RefundPayment(), "failed":
                return [examples.voided()]
            case RefundPayment(), "requested" | "captured":
                self.status, self.settling = "cancelling", True
        return []

    def work(self) -> list[Callable[[], list[Message]]]:
        return [self.charge] * self.charging + [self.settle] * self.settling

    def charge(self) -> list[Message]:
        self.charging = False
        self.money = self.moved = self.approves and not self.barred
        if self.status != "requested":
            return []
        self.status = "captured" if self.money else "failed"
        return [examples.processed() if self.money else examples.declined()]

    def settle(self) -> list[Message]:
        self.settling, self.barred = False, True
        taken, self.money = self.money, False
        self.status = "refunded" if taken else "voided"
        return [examples.refunded() if taken else examples.voided()]


class Shipping:
    """Buys a label outside, and delivers."""

    def __init__(self, *, accepts: bool) -> None:
        self.accepts = accepts
        self.status = "none"

    def take(self, command: Any) -> list[Message]:
        assert isinstance(command, CreateShipment)
        assert self.status == "none"
        self.status = "requested"
        return []

    def work(self) -> list[Callable[[], list[Message]]]:
        return {"requested": [self.buy], "sent": [self.deliver]}.get(self.status, [])

    def buy(self) -> list[Message]:
        self.status = "sent" if self.accepts else "refused"
        return [examples.shipment() if self.accepts else examples.not_shipped()]

    def deliver(self) -> list[Message]:
        self.status = "delivered"
        return [examples.delivered()]


class World:
    """An order, the services around it, and what is on the way between them."""

    def __init__(self, *, enough: bool, approves: bool, accepts: bool) -> None:
        self.inventory = Inventory(enough=enough)
        self.payments = Payments(approves=approves)
        self.shipping = Shipping(accepts=accepts)
        self.services: dict[str, Any] = {
            "inventory": self.inventory,
            "payments": self.payments,
            "shipping": self.shipping,
        }
        self.to: dict[str, deque[Message]] = {name: deque() for name in self.services}
        self.answers: dict[str, deque[Message]] = {name: deque() for name in self.services}
        self.expired: deque[ExpireOrder] = deque()
        self.events: list[Message] = []
        self.now: datetime = NOW
        self.refund_reasons: list[str] = []
        order, fulfilment, *messages = create_order(new_order(), catalogue(), None, context())
        assert isinstance(order, Order)
        assert isinstance(fulfilment, Fulfilment)
        self.order, self.saga = order, fulfilment
        self.send(messages)

    def send(self, messages: Sequence[Message | Row]) -> None:
        for message in messages:
            assert isinstance(message, Message)
            contract = contract_of(message)
            if contract.kind == "event":
                self.events.append(message)
            else:
                self.to[contract.service].append(message)
            if isinstance(message, RefundPayment):
                self.refund_reasons.append(message.reason)
        assert self.order.status in STATUS_OF_STEP[self.saga.step]
        if self.saga.step in ("done", "closed"):
            assert self.saga.deadline_at is None
        else:
            assert self.saga.deadline_at or self.saga.attention or self.expired

    def possible(self) -> list[Callable[[], None]]:
        """Everything that could happen next, but for what people do and clocks."""
        actions: list[Callable[[], None]] = [self.expire] if self.expired else []
        for name, service in self.services.items():
            actions += [partial(self.deliver, name)] if self.to[name] else []
            actions += [partial(self.work, name, work) for work in service.work()]
            actions += [partial(self.answer, name)] if self.answers[name] else []
        return actions

    def work(self, name: str, work: Callable[[], list[Message]]) -> None:
        self.answers[name].extend(work())

    def deliver(self, name: str) -> None:
        self.answers[name].extend(self.services[name].take(self.to[name].popleft()))

    def answer(self, name: str, *, twice: bool = False) -> None:
        event: Any = self.answers[name].popleft()
        if twice:
            self.answers[name].append(event)
        handler: Any = getattr(saga, {"payments": "payment"}.get(name, name) + "_answered")
        self.send(handler(event, self.saga, self.order, context(self.now)))

    def repeat(self) -> None:
        """An answer is taken now, and once more after all those that wait behind it."""
        for name, waiting in self.answers.items():
            if waiting:
                self.answer(name, twice=True)
                return

    def expire(self) -> None:
        command = self.expired.popleft()
        self.send(saga.expire_order(command, self.saga, self.order, context(self.now)))

    def sweep(self) -> None:
        """The deadline passes: the column is emptied and the command sent."""
        if self.saga.deadline_at is not None:
            self.now = max(self.now, self.saga.deadline_at)
            self.expired.append(ExpireOrder(order_id="o1", deadline=self.saga.deadline_at))
            self.saga.deadline_at = None

    def cancel(self) -> None:
        before = state(self.saga, self.order)
        try:
            messages = saga.cancel(self.saga, self.order, "customer_request", context(self.now))
        except Conflict:
            assert state(self.saga, self.order) == before
        else:
            self.send([*messages])

    def finish(self, *, patient: bool) -> None:
        """Let everything end by itself; impatient deadlines pass before any answer comes."""
        while True:
            actions = self.possible()
            if self.saga.deadline_at is not None and not (patient and actions):
                self.sweep()
            elif actions:
                actions[0]()
            else:
                return


def assert_consistent(world: World) -> None:
    order, saga_row = world.order, world.saga
    assert saga_row.step in ("done", "closed")
    assert saga_row.deadline_at is None
    assert saga_row.attention == ""
    if order.status == "Cancelled":
        assert saga_row.step == "closed"
        assert world.inventory.stock in ("none", "released")
        assert not world.payments.money
        assert world.shipping.status in ("none", "refused")
        assert order.cancel_reason == saga_row.cancel_reason != ""
    else:
        assert (saga_row.step, order.status) == ("done", "Delivered")
        assert world.inventory.stock == "committed"
        assert world.payments.money
        assert world.shipping.status == "delivered"
        assert world.refund_reasons == []
    if world.shipping.status == "refused":
        assert order.cancel_reason == "shipment_failed"
        assert world.payments.moved
    assert len(world.refund_reasons) <= 1
    folded = Order(tenant="main")
    for event in world.events:
        folded.apply(event)
    assert state(folded) == state(order)
    endings = [contract_of(event).type.__name__ for event in world.events]
    assert endings.count("OrderCancelled") + endings.count("OrderShipped") == 1


@settings(max_examples=1000)
@given(
    enough=st.booleans(),
    approves=st.booleans(),
    accepts=st.booleans(),
    patient=st.booleans(),
    choices=st.lists(st.integers(0, 15), max_size=40),
)
def test_every_interleaving_ends_consistently(
    enough: bool, approves: bool, accepts: bool, patient: bool, choices: list[int]
) -> None:
    world = World(enough=enough, approves=approves, accepts=accepts)
    rare = {13: world.repeat, 14: world.sweep, 15: world.cancel}

    for choice in choices:
        actions = world.possible()
        if choice in rare:
            rare[choice]()
        elif actions:
            actions[choice % len(actions)]()
    world.finish(patient=patient)

    assert_consistent(world)


def test_without_trouble_the_order_is_delivered() -> None:
    world = World(enough=True, approves=True, accepts=True)

    world.finish(patient=True)

    assert_consistent(world)
    assert world.order.status == "Delivered"
    assert [contract_of(event).type.__name__ for event in world.events] == [
        "OrderCreated",
        "OrderReserved",
        "OrderPaid",
        "OrderShipped",
        "OrderDelivered",
    ]
