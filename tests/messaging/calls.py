"""Calls to providers, mostly the payment gateway, made by hand, one step at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext

from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.delivery import Intent, Work
from ecommerce.messaging.effects import Effects
from ecommerce.messaging.log import outgoing
from ecommerce.messaging.registry import performer_of
from ecommerce.messaging.rows import Workspace
from ecommerce.messaging.services import service
from ecommerce.values import Money
from notifications.contracts import SendNotification
from payments.contracts import PaymentFailed, PaymentProcessed, ProcessPayment
from payments.gateways import Captured, Declined, SimulatedGateway
from payments.models import SimulatedCharge
from tests.messaging.steps import PATIENCE, cause, written


class Caller:
    """A worker's part that performs the effects of a service, moved by hand."""

    def __init__(
        self, name: str, topics: frozenset[str] | None = None, label: str = "payments"
    ) -> None:
        self.conn = connect("default")
        self.pool = ThreadPoolExecutor(4)
        self.effects = Effects(service(label), name, self.pool, threading.Event(), topics)

    def start(self) -> int:
        """Claim what is due and start the calls; return how many there are."""
        self.effects.step(self.conn)
        return len(self.effects.in_flight)

    def record(self) -> None:
        """Wait until the calls have returned, and record their answers."""
        calls = set(self.effects.in_flight)
        assert not wait(calls, PATIENCE).not_done
        self.effects.finish(self.conn, PATIENCE)

    def perform(self) -> int:
        started = self.start()
        self.record()
        return started


def intend(*names: str, within: Connection | None = None) -> None:
    """Intend to send a mail to each of these people, in a transaction of one's own or `within`."""
    tables, handler = service("notifications").tables, performer_of(SendNotification)
    assert handler is not None
    work = Work("notifications", Workspace())
    for name in names:
        command = SendNotification(
            order_id=f"o-{name}",
            customer_id=name,
            notification_id=f"n-{name}",
            channel="email",
            recipient=f"{name}@example.com",
            subject="Hello",
            text="Hello",
        )
        work.effects.append(Intent(outgoing(command, cause()), handler, cause().now))
    with nullcontext(within) if within else connect("default") as conn:
        for statement in work.writes(tables):
            conn.execute(*statement)


class Gateway(SimulatedGateway):
    """The simulated gateway; the test says what happens around a call."""

    def __init__(self) -> None:
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.calls = 0

    def charge(self, key: str, amount: Money, method: str) -> Captured | Declined:
        self.calls += 1
        self.before()
        answer = super().charge(key, amount, method)
        self.after()
        return answer


def pay(
    order_id: str = "o1",
    method: str = "card_approved",
    amount: int = 1999,
    tenant: str = "main",
    traceparent: str | None = None,
) -> None:
    command = ProcessPayment(
        order_id=order_id, customer_id="cust-123", amount=Money(amount, "USD"), method=method
    )
    execute(command, tenant=tenant, actor="test", traceparent=traceparent)


def answers() -> list[tuple[str, str]]:
    """The answers that payments has recorded, each with its order."""
    outcomes = {PaymentProcessed: "approved", PaymentFailed: "declined"}
    return [
        (message.order_id, outcomes[type(message)])
        for message in written("payments")
        if isinstance(message, PaymentProcessed | PaymentFailed)
    ]


def in_ledger() -> list[tuple[str, int]]:
    return list(SimulatedCharge.objects.order_by("key").values_list("state", "calls"))
