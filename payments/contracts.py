"""Messages that the payments service owns. All are ordered by the order they belong to.

`ChargeCard`, `VoidCharge` and `RefundCharge` are carried out by effect handlers, which call the
gateway outside any transaction and answer with the matching `Record…` command.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ecommerce.messaging.messages import Message, command, event
from ecommerce.values import Money


@command(stream="order_id")
class ProcessPayment(Message):
    """Capture the order's total once. `method` is the gateway's token for a card."""

    order_id: str
    customer_id: str
    amount: Money
    method: str


@command(stream="order_id")
class RefundPayment(Message):
    """Take back whatever the order's payment has become: void it, or refund what was captured."""

    order_id: str
    reason: str


@command(stream="order_id", tags=("money",))
class ChargeCard(Message):
    """Effect: charge the card. `key` is the idempotency key of this attempt at the gateway."""

    order_id: str
    attempt: int
    key: str
    amount: Money
    method: str


@command(stream="order_id", tags=("money",))
class VoidCharge(Message):
    """Effect: make sure that the charge known by `key` never takes money.

    The gateway is asked by that key: a charge it never saw is barred, one it captured is refunded
    under `refund_key`.
    """

    order_id: str
    key: str
    refund_key: str
    amount: Money


@command(stream="order_id", tags=("money",))
class RefundCharge(Message):
    """Effect: give captured money back."""

    order_id: str
    key: str
    transaction_id: str
    amount: Money


@command(stream="order_id")
class RecordCharge(Message):
    """What the gateway said to `ChargeCard`."""

    order_id: str
    attempt: int
    outcome: Literal["approved", "declined"]
    transaction_id: str = ""
    code: str = ""
    reason: str = ""


@command(stream="order_id")
class RecordVoid(Message):
    """What the gateway said to `VoidCharge`; with a `refund_id` when money had been taken."""

    order_id: str
    transaction_id: str = ""
    refund_id: str = ""


@command(stream="order_id")
class RecordRefund(Message):
    """What the gateway said to `RefundCharge`."""

    order_id: str
    refund_id: str


@event(stream="order_id")
class PaymentRequested(Message):
    """An attempt to capture the order's total has begun."""

    order_id: str
    payment_id: str
    customer_id: str
    attempt: int
    amount: Money
    method: str


@event(stream="order_id")
class PaymentProcessed(Message):
    """The order's total was captured."""

    order_id: str
    payment_id: str
    customer_id: str
    transaction_id: str
    amount: Money
    method: str
    processed_at: datetime


@event(stream="order_id")
class PaymentFailed(Message):
    """The card was declined; nothing was captured."""

    order_id: str
    payment_id: str
    code: str
    reason: str


@event(stream="order_id")
class PaymentCancellationRequested(Message):
    """The payment is being voided or refunded; the gateway has not answered yet."""

    order_id: str
    payment_id: str
    reason: str


@event(stream="order_id")
class PaymentVoided(Message):
    """The payment was called off before any money moved."""

    order_id: str
    payment_id: str


@event(stream="order_id")
class PaymentRefunded(Message):
    """Captured money went back to the card."""

    order_id: str
    payment_id: str
    transaction_id: str
    refund_id: str
    amount: Money
    refunded_at: datetime
