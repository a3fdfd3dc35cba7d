"""What an order moved: units of stock and money, read from its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ecommerce.values import Money
from inventory.contracts import (
    InventoryCommitted,
    InventoryInsufficient,
    InventoryReleased,
    InventoryReserved,
)
from payments.contracts import (
    PaymentCancellationRequested,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PaymentRequested,
    PaymentVoided,
)

from .time_machine import Moment

MOVES = {
    InventoryReserved: ("Held for the order", "info"),
    InventoryReleased: ("Back on the shelf", "warn"),
    InventoryCommitted: ("Left the warehouse", "good"),
}


@dataclass(frozen=True)
class Movement:
    """Units of a product that changed their place, or that were missing."""

    at: datetime
    what: str
    tone: str
    product_id: str
    quantity: int
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """What happened to the order's money; `reference` is the gateway's."""

    at: datetime
    what: str
    tone: str
    amount: Money | None = None
    reference: str = ""


def movements(found: Sequence[Moment]) -> list[Movement]:
    """The order's stock, as it was held, given back and sent away."""
    return [each for moment in found for each in _movements(moment.at, moment.message)]


def entries(found: Sequence[Moment]) -> list[Entry]:
    """The order's money: charges, voids and refunds."""
    told = ((moment.at, _entry(moment.message)) for moment in found)
    return [Entry(at, *entry) for at, entry in told if entry is not None]


def _movements(at: datetime, event: Any) -> Iterator[Movement]:
    match event:
        case InventoryReserved() | InventoryReleased() | InventoryCommitted():
            what, tone = MOVES[type(event)]
            for line in event.lines:
                yield Movement(at, what, tone, line.product_id, line.quantity, line.warehouse)
        case InventoryInsufficient():
            for short in event.shortages:
                note = f"{short.available} were available"
                yield Movement(at, "Too few", "bad", short.product_id, short.requested, note)


def _entry(event: Any) -> tuple[Any, ...] | None:
    entry: tuple[Any, ...] | None = None
    match event:
        case PaymentRequested(amount=amount, attempt=attempt):
            entry = f"Charge asked for, attempt {attempt}", "info", amount
        case PaymentProcessed(amount=amount, transaction_id=transaction):
            entry = "Captured", "good", amount, transaction
        case PaymentFailed(code=code, reason=reason):
            entry = f"Declined: {reason}", "bad", None, code
        case PaymentCancellationRequested(reason=reason):
            entry = f"To be taken back: {reason}", "warn"
        case PaymentVoided():
            entry = "Voided: no money moved", "warn"
        case PaymentRefunded(amount=amount, refund_id=refund):
            entry = "Refunded", "warn", amount, refund
    return entry
