"""Orders, payments, shipping and customers are heard in any order; the end is the same.

The rule for contacts: a notification goes to the address that is known when its cause is heard of.
Without one it is Undeliverable, and a contact saved later does not change that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain, product
from typing import Any

from customers.contracts import ContactSaved
from ecommerce.messaging.context import Context
from ecommerce.messaging.messages import Message, contract_of
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import Load, Rows, handlers_of
from notifications import handlers, projections
from notifications.contracts import RecordNotification, SendNotification
from notifications.models import Notification

from .test_notifying import ORDERED, PAID, SHIPPED

assert handlers
assert projections

SAVED = ContactSaved(customer_id="cust-123", name="Ada", email="ada@example.com", phone="+15550100")
HAPPENED: dict[str, list[Any]] = {
    "orders": [ORDERED],
    "payments": [PAID],
    "shipping": [SHIPPED],
    "customers": [SAVED],
}
ALL = {
    "o1-order_confirmation-email": ("ada@example.com", "Your order o1 is confirmed"),
    "o1-payment_receipt-email": ("ada@example.com", "We received your payment of 39.98 USD"),
    "o1-shipment-sms": ("+15550100", ""),
}


class World:
    """The service in memory: its rows, its own messages to itself, and what it has sent."""

    def __init__(self, context: Context, sources: dict[str, list[Any]]) -> None:
        self.context = context
        self.sources: dict[str, list[Message]] = copy.deepcopy(sources) | {"notifications": []}
        self.rows: dict[tuple[type[Row], str], Row] = {}
        self.events: list[Message] = []
        self.mails: list[SendNotification] = []
        self.knew_contact: dict[str, bool] = {}
        self._contact_known = False

    def open_sources(self) -> list[str]:
        return [name for name, messages in self.sources.items() if messages]

    def after_next_of(self, source: str) -> World:
        world = copy.copy(self)
        for name in ("sources", "rows", "events", "mails", "knew_contact"):
            setattr(world, name, copy.deepcopy(getattr(self, name)))
        world._hear(world.sources[source].pop(0))
        return world

    def notifications(self) -> dict[str, Notification]:
        return {key: row for (_, key), row in self.rows.items() if isinstance(row, Notification)}

    def _hear(self, message: Message) -> None:
        self._contact_known |= isinstance(message, ContactSaved)
        for handler in handlers_of(type(message), "notifications"):
            arguments = {load.parameter: self._rows(load, message) for load in handler.loads}
            if handler.context_parameter:
                arguments[handler.context_parameter] = self.context
            results = handler.function(message, **arguments)
            for result in results if isinstance(results, list) else [results]:
                self._take(result)

    def _rows(self, load: Load, message: Message) -> Any:
        keys = load.keys(message)
        if load.form == "many":
            return Rows(
                {key: self.rows[load.model, key] for key in keys if (load.model, key) in self.rows}
            )
        return self.rows.get((load.model, keys))

    def _take(self, result: object) -> None:
        if isinstance(result, Row):
            assert isinstance(result.key, str)
            key = (type(result), getattr(result, result.key))
            assert self.rows.get(key, result) is result, f"{key} was made twice"
            self.rows[key] = result
        elif isinstance(result, SendNotification):
            self.mails.append(result)
            self.sources["notifications"].append(
                RecordNotification(
                    order_id=result.order_id,
                    notification_id=result.notification_id,
                    outcome="sent",
                    provider_id=f"mailbox-{result.notification_id}",
                )
            )
        elif isinstance(result, Message) and contract_of(result).kind == "command":
            self.sources["notifications"].append(result)
        else:
            assert isinstance(result, Message)
            self.events.append(result)
            key_of_event = result.notification_id  # type: ignore[attr-defined]
            self.knew_contact[key_of_event] = self._contact_known


def ends(world: World) -> Iterator[World]:
    """Every end of the world, over all interleavings that keep each source's own order."""
    sources = world.open_sources()
    if not sources:
        yield world
    for source in sources:
        yield from ends(world.after_next_of(source))


def state(row: Notification) -> dict[str, Any]:
    fields = {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields}
    del fields["id"], fields["tenant"]
    return fields


def test_whatever_the_interleaving_the_same_notifications_are_sent(context: Context) -> None:
    world = World(context, HAPPENED).after_next_of("customers")
    seen, first = 0, None

    for end in ends(world):
        seen += 1
        told = {key: state(row) for key, row in end.notifications().items()}
        assert {key: (row["recipient"], row["subject"]) for key, row in told.items()} == ALL
        assert {row["status"] for row in told.values()} == {"Sent"}
        assert sorted(mail.notification_id for mail in end.mails) == sorted(ALL)
        first = first or told
        assert told == first

    assert seen == 30


def test_with_a_late_contact_what_was_prepared_before_is_undeliverable(context: Context) -> None:
    outcomes = set()

    for end in ends(World(context, HAPPENED)):
        told = end.notifications()
        assert told.keys() == ALL.keys()
        for row in told.values():
            assert row.status in ("Sent", "Undeliverable")
            assert bool(row.error) == (row.status == "Undeliverable")
            assert bool(row.recipient) == (row.status == "Sent")
        sent = sorted(key for key, row in told.items() if row.status == "Sent")
        assert sorted(mail.notification_id for mail in end.mails) == sent
        outcomes.add(tuple(sent))

    each_or_not = [((), (key,)) for key in sorted(ALL)]
    assert outcomes == {tuple(chain(*chosen)) for chosen in product(*each_or_not)}


def test_without_a_contact_nothing_is_sent_and_nothing_waits(context: Context) -> None:
    known = {name: messages for name, messages in HAPPENED.items() if name != "customers"}

    for end in ends(World(context, known)):
        assert {row.status for row in end.notifications().values()} == {"Undeliverable"}
        assert end.notifications().keys() == ALL.keys()
        assert end.mails == []


def test_every_row_equals_the_fold_of_its_stream(context: Context) -> None:
    for end in ends(World(context, HAPPENED)):
        for key, row in end.notifications().items():
            folded = Notification(tenant="main")
            for event in end.events:
                if event.notification_id == key:  # type: ignore[attr-defined]
                    folded.apply(event)
            assert state(folded) == state(row)
