"""The port to whoever takes the money, and the gateway that is simulated.

Every call carries a key that stays the same however often the call is made: the same key gets
the same answer, and moves money once. What can go wrong:

    GatewayError
    ├── GatewayTimeout      no answer: the call may have had its effect, or not
    ├── GatewayUnavailable  not carried out; worth asking again later
    └── GatewayRefused      a call that makes no sense, such as the refund of an unknown charge

A declined card is no error but an answer.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Protocol

import msgspec
import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from ecommerce.messaging.database import connection
from ecommerce.simulation import UNFLUSHED, Provider
from ecommerce.values import Money

from .models import SimulatedCharge, SimulatedTrouble


class GatewayError(Exception):
    """The gateway did not do what it was asked for."""


class GatewayTimeout(GatewayError):
    """The gateway did not answer in time: look the charge up by its key."""


class GatewayUnavailable(GatewayError):
    """The gateway could not be reached, or said that it has a fault of its own."""


class GatewayRefused(GatewayError):
    """The gateway does not know what was meant; asking again does not help."""


class Captured(msgspec.Struct, frozen=True):
    """The money was taken."""

    transaction_id: str


class Declined(msgspec.Struct, frozen=True):
    """The card pays nothing. `code` is machine-readable, `reason` for people."""

    code: str
    reason: str


class Voided(msgspec.Struct, frozen=True):
    """A charge takes no money any more. With a `refund_id`, it had, and gave it back."""

    transaction_id: str = ""
    refund_id: str = ""


class Refunded(msgspec.Struct, frozen=True):
    """Captured money went back."""

    refund_id: str


class Gateway(Protocol):
    """What payments needs of a payment provider.

    All methods raise GatewayTimeout and GatewayUnavailable.
    """

    def charge(self, key: str, amount: Money, method: str) -> Captured | Declined:
        """Take `amount` from the card that the token `method` stands for.

        Raises GatewayRefused when the key was used for another amount.
        """

    def void(self, key: str, refund_key: str, amount: Money) -> Voided:
        """Bar the charge with this key, known or not yet; refund what it captured."""

    def refund(self, key: str, transaction_id: str, amount: Money) -> Refunded:
        """Give back a captured charge. Raises GatewayRefused when there is nothing to give."""

    def look_up(self, key: str) -> Captured | Declined | None:
        """What was answered to the charge with this key; None when there is no answer (yet)."""


def gateway() -> Gateway:
    """The gateway that `settings.PAYMENT_GATEWAY` names.

    Raises ImproperlyConfigured for a name that nobody has an adapter for.
    """
    name = settings.PAYMENT_GATEWAY
    try:
        return _adapters[name]
    except KeyError:
        known = ", ".join(sorted(_adapters))
        raise ImproperlyConfigured(f"PAYMENT_GATEWAY is {name!r}. Use one of: {known}") from None


_FAILURES = {"card_error": 2, "card_unavailable": 2**31 - 1, "card_timeout": 2**31 - 1}
"""How many calls are not carried out before one is."""
BARRED = Declined("voided", "The charge was voided before the card was asked.")
DECLINED = Declined("card_declined", "The card was declined.")
NO_FUNDS = Declined("insufficient_funds", "The card's limit does not cover the amount.")
UNKNOWN_CARD = Declined("unknown_card", "The card token is not known.")
_reasons = {answer.code: answer for answer in (BARRED, DECLINED, NO_FUNDS, UNKNOWN_CARD)}

TROUBLES = Provider(
    "card",
    "Card provider",
    SimulatedTrouble,
    {
        "lost answers": "loses its answers",
        "slow": "takes its time",
        "declining": "declines every card",
        "unavailable": "is not there",
    },
)

# Each call is one statement, so that calls about one charge at the same time take turns at its row.
_CHARGE = f"""
    INSERT INTO payments_simulatedcharge AS charge
        (key, amount, currency, method, state, transaction_id, code, refund_id, calls)
    SELECT %(key)b::text, %(amount)b::bigint, %(currency)b::text, %(method)b::text,
           CASE WHEN %(failures)b::int = 0 THEN %(verdict)b::text ELSE 'pending' END,
           %(transaction_id)b::text, %(code)b::text, '', 1
    FROM {UNFLUSHED}
    ON CONFLICT (key) DO UPDATE SET
        calls = charge.calls + 1,
        state = CASE WHEN charge.state = 'pending' AND charge.calls >= %(failures)b::int
                     THEN %(verdict)b::text ELSE charge.state END
    RETURNING amount, currency, state, transaction_id, code, calls
"""
_VOID = """
    INSERT INTO payments_simulatedcharge AS charge
        (key, amount, currency, method, state, transaction_id, code, refund_id, calls)
    VALUES (%(key)b, %(amount)b, %(currency)b, '', 'voided', %(transaction_id)b, '', '', 0)
    ON CONFLICT (key) DO UPDATE SET
        refund_key = CASE charge.state WHEN 'captured' THEN %(refund_key)b ELSE charge.refund_key END,
        refund_id = CASE charge.state WHEN 'captured' THEN %(refund_id)b ELSE charge.refund_id END,
        state = CASE charge.state WHEN 'captured' THEN 'refunded' WHEN 'pending' THEN 'voided'
                                  ELSE charge.state END
    RETURNING state, transaction_id, refund_id
"""
_REFUND = """
    UPDATE payments_simulatedcharge
    SET state = 'refunded', refund_key = %(key)b, refund_id = %(refund_id)b
    WHERE transaction_id = %(transaction_id)b AND amount = %(amount)b AND currency = %(currency)b
      AND (state = 'captured' OR (state = 'refunded' AND refund_key = %(key)b))
    RETURNING refund_id
"""
_LOOK_UP = """
    SELECT state, transaction_id, code FROM payments_simulatedcharge WHERE key = %(key)b
"""


class SimulatedGateway:
    """An outside system that we play ourselves, its books in the table `SimulatedCharge`.

    What a charge does is told by the card's token:

    | token              | what happens                                                        |
    |--------------------|---------------------------------------------------------------------|
    | `card_approved`    | the money is captured                                               |
    | `card_declined`    | declined                                                            |
    | `card_slow`        | captured after `settings.SIMULATED_GATEWAY_SECONDS` seconds     |
    | `card_error`       | unavailable for the first two calls, then captured                  |
    | `card_unavailable` | always unavailable; captures nothing                                |
    | `card_timeout`     | never answers; captures nothing                                     |
    | `card_answer_lost` | captured, but the first call's answer is lost on the way            |
    | anything else      | declined                                                            |

    and by the amount: what would be captured is declined when it ends in .13. A barred charge is
    declined whatever its token. `TROUBLES` come on top of all that.
    """

    def charge(self, key: str, amount: Money, method: str) -> Captured | Declined:
        if method == "card_slow":
            time.sleep(settings.SIMULATED_GATEWAY_SECONDS)
        declined = DECLINED if TROUBLES.befalls("declining") else _declined(amount, method)
        row = _book(
            _CHARGE,
            key=key,
            amount=amount.amount,
            currency=amount.currency,
            method=method,
            failures=_FAILURES.get(method, 0),
            verdict="declined" if declined else "captured",
            transaction_id=_id("txn", key),
            code=declined.code if declined else "",
        )
        assert row is not None
        charged, currency, state, transaction_id, code, calls = row
        if Money(charged, currency) != amount:
            raise GatewayRefused(f"the key {key} was used for {Money(charged, currency)}")
        if method == "card_timeout" or (method == "card_answer_lost" and calls == 1):
            raise GatewayTimeout(f"no answer to the charge {key}")
        _lose_answer(key)
        answer = _answer(state, transaction_id, code)
        if answer is None:
            raise GatewayUnavailable(f"the charge {key} was not carried out")
        return answer

    def void(self, key: str, refund_key: str, amount: Money) -> Voided:
        row = _book(
            _VOID,
            key=key,
            amount=amount.amount,
            currency=amount.currency,
            transaction_id=_id("txn", key),
            refund_key=refund_key,
            refund_id=_id("rfd", refund_key),
        )
        assert row is not None
        _lose_answer(key)
        state, transaction_id, refund_id = row
        return Voided(transaction_id, refund_id) if state == "refunded" else Voided()

    def refund(self, key: str, transaction_id: str, amount: Money) -> Refunded:
        row = _book(
            _REFUND,
            key=key,
            refund_id=_id("rfd", key),
            transaction_id=transaction_id,
            amount=amount.amount,
            currency=amount.currency,
        )
        if row is None:
            raise GatewayRefused(f"no charge {transaction_id} has {amount} to give back")
        _lose_answer(key)
        return Refunded(row[0])

    def look_up(self, key: str) -> Captured | Declined | None:
        row = _book(_LOOK_UP, key=key)
        return _answer(*row) if row else None


def _book(statement: str, **values: Any) -> Any:
    """Run one statement in the books, and commit. That they are out of reach is a fault of the
    gateway, as anybody outside would have it."""
    TROUBLES.hold_up("slow")
    if TROUBLES.befalls("unavailable"):
        raise GatewayUnavailable("the gateway answers 503 Service Unavailable")
    try:
        with connection(router.db_for_write(SimulatedCharge)) as books:
            return books.execute(statement, values).fetchone()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise GatewayUnavailable(str(error)) from error


def _lose_answer(key: str) -> None:
    if TROUBLES.befalls("lost answers"):
        raise GatewayTimeout(f"the answer about {key} got lost")


def _declined(amount: Money, method: str) -> Declined | None:
    match method:
        case "card_declined":
            return DECLINED
        case (
            "card_approved"
            | "card_slow"
            | "card_error"
            | "card_unavailable"
            | "card_timeout"
            | "card_answer_lost"
        ):
            return NO_FUNDS if amount.amount % 100 == 13 else None
        case _:
            return UNKNOWN_CARD


def _answer(state: str, transaction_id: str, code: str) -> Captured | Declined | None:
    match state:
        case "captured" | "refunded":
            return Captured(transaction_id)
        case "declined":
            return _reasons[code]
        case "voided":
            return BARRED
        case _:
            return None


def _id(kind: str, key: str) -> str:
    return f"{kind}_{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"


_adapters: dict[str, Gateway] = {"simulated": SimulatedGateway()}
