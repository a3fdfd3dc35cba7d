"""Dead letters for tests: deliveries and calls that fail as long as the test wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ecommerce.messaging import desk, log, redrive
from ecommerce.messaging.database import connect
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.messages import Message
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.registry import handles
from ecommerce.messaging.services import service
from inventory.contracts import AdjustInventory, InventoryRestocked
from tests.messaging.examples import restocked
from tests.messaging.steps import Puppet, cause, fetch, in_service, write, written

ANALYTICS = Selection(service="analytics")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Faults:
    """The quantities that the handler `analytics.note` raises for."""

    quantities: set[int] = field(default_factory=set)


def failing_handler(retry: tuple[float, ...] = ()) -> Faults:
    """Register `analytics.note`, which notes in its log what it was given."""
    faults = Faults()

    @handles(retry=retry)
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        if event.quantity in faults.quantities:
            raise ValueError(f"cannot note {event.quantity} of {event.product_id}")
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")

    return faults


def noted() -> list[tuple[str, int]]:
    """What `analytics.note` has noted, in order."""
    return [
        (each.product_id, each.change)
        for each in written("analytics")
        if isinstance(each, AdjustInventory)
    ]


def bury(
    worker: Puppet, faults: Faults, *quantities: int, product: str = "a", tenant: str = "main"
) -> list[DeadLetter]:
    """Letters of `analytics.note` that died of these quantities."""
    faults.quantities.update(quantities)
    write("inventory", *(restocked(product, quantity) for quantity in quantities), tenant=tenant)
    worker.work()
    return letters(tenant=tenant)


def letters(label: str = "analytics", **given: Any) -> list[DeadLetter]:
    """A service's letters, those that are over too, the oldest message first."""
    found = desk.all_letters(service(label)).filter(**given)
    return list(found.order_by("recorded_at", "message_id"))


def stored(message: Message, tenant: str = "main") -> log.Stored:
    """A message as it would be read from a log."""
    envelope = log.outgoing(message, cause(tenant)).envelope()
    return log.Stored(position=0, **dict(zip(log.ENVELOPE, envelope, strict=True)), recorded_at=NOW)


def letter_of(message: Message, handler: str, tenant: str = "main") -> DeadLetter:
    """A letter as it would be buried, not saved."""
    known = stored(message, tenant)
    return service(handler.partition(".")[0]).tables.dead(
        **{name: getattr(known, name) for name in (*log.ENVELOPE, "recorded_at")},
        dead_at=NOW,
        handler=handler,
        attempts=1,
    )


def states(label: str = "analytics") -> list[str]:
    return [letter.state for letter in letters(label)]


def trail(letter: DeadLetter) -> list[tuple[str, str]]:
    """What was done with a letter, and by whom."""
    label = letter._meta.app_label
    return [(each.action, each.actor) for each in desk.trail(service(label), letter.pk)]


def send_out(label: str = "analytics") -> int:
    """What workers do every two seconds: send what is due."""
    with connect("default") as conn:
        return redrive.send_due(conn, service(label))


def one(letter: DeadLetter) -> Selection:
    return Selection(service=letter._meta.app_label, ids=(letter.pk,))


def due_in(label: str = "analytics") -> Iterator[float]:
    """In how many seconds each letter is sent, in the order of their messages."""
    query = (
        "SELECT extract(epoch FROM due_at - messaging_now())::float8 FROM {dead} "
        "ORDER BY recorded_at, message_id"
    )
    yield from (seconds for (seconds,) in fetch(label, query))
