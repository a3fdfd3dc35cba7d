"""What payments decides, and its calls to the gateway.

A payment is requested (commit), the gateway is called by a stable key outside any transaction,
and what it said is recorded (commit). Whoever cancels meanwhile has the gateway settle the
charge by its key: then the answer to the charge itself does not matter any more.
"""

from __future__ import annotations

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Retry
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import handles, performs

from .contracts import (
    ChargeCard,
    PaymentCancellationRequested,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PaymentRequested,
    PaymentVoided,
    ProcessPayment,
    RecordCharge,
    RecordRefund,
    RecordVoid,
    RefundCharge,
    RefundPayment,
    VoidCharge,
)
from .gateways import Captured, Declined, GatewayTimeout, GatewayUnavailable, gateway
from .models import Payment

FIRST_ATTEMPT = 1
Status = Payment.Status


@handles
def process_payment(
    command: ProcessPayment, payment: Payment | None, context: Context
) -> list[Message | Row]:
    """Begin to capture the order's total; an order has one payment, and this may be its end.

    An order that costs nothing is paid without the gateway.
    """
    if payment:
        return []
    payment = Payment(tenant=context.tenant)
    requested = PaymentRequested(
        order_id=command.order_id,
        payment_id=payment_id(command.order_id),
        customer_id=command.customer_id,
        attempt=FIRST_ATTEMPT,
        amount=command.amount,
        method=command.method,
    )
    payment.record(requested)
    if not payment.amount:
        return [payment, requested, _processed(payment, "", context)]
    charge = ChargeCard(
        order_id=payment.order_id,
        attempt=payment.attempt,
        key=payment.charge_key,
        amount=command.amount,
        method=command.method,
    )
    return [payment, requested, charge]


@handles
def refund_payment(
    command: RefundPayment, payment: Payment | None, context: Context
) -> list[Message | Row]:
    """Take back whatever the payment has become, once.

    Without a payment, the answer's row stands in the way of a later one. While the gateway is
    being asked for money, it is asked to settle that very charge; what it captured is refunded.
    """
    if payment is None:
        payment = Payment(tenant=context.tenant)
        never = PaymentVoided(order_id=command.order_id, payment_id=payment_id(command.order_id))
        return [payment, payment.record(never)]
    if payment.status in (Status.CANCELLING, Status.VOIDED, Status.REFUNDED):
        return []
    if payment.status == Status.FAILED or not payment.amount:
        return [_voided(payment)]
    effect = _refund(payment) if payment.status == Status.CAPTURED else _void(payment)
    cancelling = PaymentCancellationRequested(
        order_id=payment.order_id, payment_id=payment.payment_id, reason=command.reason
    )
    return [payment.record(cancelling), effect]


@handles
def record_charge(
    command: RecordCharge, payment: Payment | None, context: Context
) -> list[Message]:
    """Record the answer to a charge that is still wanted."""
    if payment is None or payment.status != Status.PENDING or payment.attempt != command.attempt:
        return []
    if command.outcome == "approved":
        return [_processed(payment, command.transaction_id, context)]
    failed = PaymentFailed(
        order_id=payment.order_id,
        payment_id=payment.payment_id,
        code=command.code,
        reason=command.reason,
    )
    return [payment.record(failed)]


@handles
def record_void(command: RecordVoid, payment: Payment | None, context: Context) -> list[Message]:
    """Record that the charge takes no money: none was taken, or it was given back."""
    if payment is None or payment.status != Status.CANCELLING:
        return []
    if command.refund_id:
        return [_refunded(payment, command.transaction_id, command.refund_id, context)]
    return [_voided(payment)]


@handles
def record_refund(
    command: RecordRefund, payment: Payment | None, context: Context
) -> list[Message]:
    """Record that captured money went back."""
    if payment is None or payment.status != Status.CANCELLING:
        return []
    return [_refunded(payment, payment.transaction_id, command.refund_id, context)]


@performs
def charge_card(command: ChargeCard) -> RecordCharge:
    """Ask for the money. An answer that is lost on the way is looked up by the charge's key."""
    try:
        try:
            answer = gateway().charge(command.key, command.amount, command.method)
        except GatewayTimeout:
            found = gateway().look_up(command.key)
            if found is None:
                raise
            answer = found
    except (GatewayTimeout, GatewayUnavailable) as fault:
        raise Retry(str(fault)) from fault
    match answer:
        case Captured():
            return RecordCharge(
                order_id=command.order_id,
                attempt=command.attempt,
                outcome="approved",
                transaction_id=answer.transaction_id,
            )
        case Declined():
            return RecordCharge(
                order_id=command.order_id,
                attempt=command.attempt,
                outcome="declined",
                code=answer.code,
                reason=answer.reason,
            )


@performs
def void_charge(command: VoidCharge) -> RecordVoid:
    """See to it that a charge which may be under way takes no money."""
    try:
        answer = gateway().void(command.key, command.refund_key, command.amount)
    except (GatewayTimeout, GatewayUnavailable) as fault:
        raise Retry(str(fault)) from fault
    return RecordVoid(
        order_id=command.order_id,
        transaction_id=answer.transaction_id,
        refund_id=answer.refund_id,
    )


@performs
def refund_charge(command: RefundCharge) -> RecordRefund:
    """Give the money back."""
    try:
        answer = gateway().refund(command.key, command.transaction_id, command.amount)
    except (GatewayTimeout, GatewayUnavailable) as fault:
        raise Retry(str(fault)) from fault
    return RecordRefund(order_id=command.order_id, refund_id=answer.refund_id)


def payment_id(order_id: str) -> str:
    """The id of an order's one payment."""
    return f"pay-{order_id}"


def _processed(payment: Payment, transaction_id: str, context: Context) -> PaymentProcessed:
    return payment.record(
        PaymentProcessed(
            order_id=payment.order_id,
            payment_id=payment.payment_id,
            customer_id=payment.customer_id,
            transaction_id=transaction_id,
            amount=payment.money,
            method=payment.method,
            processed_at=context.now,
        )
    )


def _voided(payment: Payment) -> PaymentVoided:
    return payment.record(PaymentVoided(order_id=payment.order_id, payment_id=payment.payment_id))


def _refunded(
    payment: Payment, transaction_id: str, refund_id: str, context: Context
) -> PaymentRefunded:
    return payment.record(
        PaymentRefunded(
            order_id=payment.order_id,
            payment_id=payment.payment_id,
            transaction_id=transaction_id,
            refund_id=refund_id,
            amount=payment.money,
            refunded_at=context.now,
        )
    )


def _void(payment: Payment) -> VoidCharge:
    return VoidCharge(
        order_id=payment.order_id,
        key=payment.charge_key,
        refund_key=payment.refund_key,
        amount=payment.money,
    )


def _refund(payment: Payment) -> RefundCharge:
    return RefundCharge(
        order_id=payment.order_id,
        key=payment.refund_key,
        transaction_id=payment.transaction_id,
        amount=payment.money,
    )
