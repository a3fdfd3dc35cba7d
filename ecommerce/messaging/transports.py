"""Between databases that no process reaches both of: a broker carries what the relay would copy.

    source's log → Sender → batch → broker → receive → target's inbox and cursor
    source's database  ←  confirm  ←  broker  ←  receipt: how far the inbox has come

A batch says where it begins and where it ends. `receive` takes it when it begins where the inbox
has come to, in the transaction that stores the messages and moves the cursor; it tells a duplicate
and a gap by the same cursor. Whatever the broker loses, doubles, delays or reorders, the inbox gets
every message once and in the log's order, because the sender sends again what nobody confirms. The
broker never holds the only copy, so emptying it costs seconds.

`settings.MESSAGING_PUBLISH` names the function that hands a task to the broker; without one,
workers copy directly. Both move the same cursor, so one may follow the other at any time.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import pairwise
from typing import Literal, TypeVar

import msgspec
from django.conf import settings
from django.utils.module_loading import import_string

from . import wakeup
from .database import Connection, connection
from .errors import BrokerAway, ContractError
from .log import ENVELOPE, Stored
from .relay import begin, store
from .services import ServiceConfig, service

logger = logging.getLogger(__name__)

RECEIVE = "messaging.receive"
CONFIRM = "messaging.confirm"

T = TypeVar("T")
Fit = Literal["next", "duplicate", "gap"]


class Batch(msgspec.Struct, frozen=True):
    """All that a target wants of a source's log behind `after`, up to and with `up_to`."""

    source: str
    target: str
    after: int
    up_to: int
    messages: list[Stored]

    def __post_init__(self) -> None:
        places = [self.after, *(message.position for message in self.messages)]
        if any(a >= b for a, b in pairwise(places)) or places[-1] > self.up_to:
            raise ValueError(f"its positions do not ascend from {self.after} to {self.up_to}")


class Receipt(msgspec.Struct, frozen=True):
    """How far a target's inbox has come in a source's log, and how the batch fitted."""

    source: str
    target: str
    position: int
    fit: Fit


def publishes() -> bool:
    """Whether a broker carries messages between databases."""
    return bool(settings.MESSAGING_PUBLISH)


def publish(task: str, label: str, body: str) -> None:
    """Hand a task to the broker for whoever works for a service. Raises BrokerAway."""
    import_string(settings.MESSAGING_PUBLISH)(task, label, body)


def fit(batch: Batch, reached: int) -> Fit:
    """How a batch fits an inbox that has come so far."""
    if batch.after > reached:
        return "gap"
    return "next" if batch.up_to > reached else "duplicate"


def receive(body: str) -> None:
    """Store a batch in its target's inbox, if it is the next, and tell the source how far that is.

    Raises ContractError when the body is no batch, WiringError when it names no services of ours.
    """
    batch = _read(body, Batch)
    source, target = service(batch.source), service(batch.target)
    with connection(target.database) as conn:
        receipt = take(conn, target, batch)
    if receipt is None:
        return
    if receipt.fit == "next":
        wakeup.wake(target.database)
    with suppress(BrokerAway):  # then the batch comes again, and is confirmed as a duplicate
        publish(CONFIRM, source.label, msgspec.json.encode(receipt).decode())


def take(conn: Connection, target: ServiceConfig, batch: Batch) -> Receipt | None:
    """Store what of a batch is new. While somebody else is at the same source, nothing is done: a
    receiver that waited would be missing to other sources, and the batch comes again."""
    begin(conn, target, batch.source)
    with conn.transaction():
        row = conn.execute(
            f"""SELECT position FROM "{target.tables.relay._meta.db_table}"
                WHERE source = %b FOR UPDATE SKIP LOCKED""",
            (batch.source,),
        ).fetchone()
        if row is None:
            return None
        reached = row[0]
        found = fit(batch, reached)
        if found == "next":
            rows = [_columns(m) for m in batch.messages if m.position > reached]
            store(conn, target, batch.source, rows, batch.up_to)
            reached = batch.up_to
    if found == "gap":
        logger.info("%s missed something of %s behind %d", target.label, batch.source, reached)
    return Receipt(batch.source, target.label, reached, found)


def confirm(body: str) -> None:
    """Note in the source's database how far a target has come, and wake its sender.

    Late receipts change nothing. Only a gap brings the sender back: it says that the inbox is where
    nobody knew it to be, such as after a restored backup.
    """
    receipt = _read(body, Receipt)
    source, target = service(receipt.source), service(receipt.target)
    table = source.tables.relay._meta.db_table
    with connection(source.database) as conn:
        conn.execute(
            f"""INSERT INTO "{table}" AS r (source, position) VALUES (%b, %b::bigint)
                ON CONFLICT (source) DO UPDATE SET position =
                    CASE WHEN %b::boolean THEN excluded.position
                    ELSE greatest(r.position, excluded.position) END""",
            (confirmed_by(target.label), receipt.position, receipt.fit == "gap"),
        )
    wakeup.wake(source.database)


def confirmed_by(target: str) -> str:
    """Under which name a source's database keeps how far a target has confirmed its log."""
    return f"to {target}"


def _columns(message: Stored) -> tuple[object, ...]:
    envelope = (getattr(message, column) for column in ENVELOPE)
    return (message.position, message.recorded_at, *envelope)


def _read(body: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ContractError(f"this is no {kind.__name__}: {error}") from error
