"""Whatever order the streams come in, and however late one of them: the same rows, for every
projection that there is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from customers.contracts import ChooseNotices, SaveContact
from ecommerce.messaging.bus import execute
from ecommerce.messaging.context import Context
from ecommerce.messaging.log import ENVELOPE, Stored
from ecommerce.messaging.messages import Message
from ecommerce.messaging.projections import read_models
from ecommerce.messaging.registry import handlers
from ecommerce.messaging.services import services
from notifications.contracts import SaveTemplate
from orders.contracts import CancelOrder
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch
from tests.projecting import project, state

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Event = tuple[Message, Context]
TIMES = 40
PROJECTING = sorted({h.service for h in handlers() if h.kind == "projects"})


@pytest.fixture
def history(settings: Settings) -> dict[str, list[list[Event]]]:
    """What has happened in a small shop, stream by stream, by the service that hears it."""
    settings.SIMULATED_DELIVERY_SECONDS = 0
    open_shop()
    for name in ("Ada", "Ada Lovelace"):
        contact = SaveContact(customer_id="cust-1", name=name, email="ada@example.com", phone="1")
        execute(contact, tenant="main", actor="user:1")
    for unwanted in (("shipment.sms",), ()):
        notices = ChooseNotices(customer_id="cust-1", unwanted=unwanted)
        execute(notices, tenant="main", actor="user:1")
    for text in ("first", "second"):
        template = SaveTemplate(template_id="payment_receipt.email", text=text)
        execute(template, tenant="main", actor="user:1")
    place("one", {"mouse": 2, "desk": 1})
    place("two", card="card_declined")
    place("three", {"desk": 500}, customer="cust-2")
    place("four", customer="cust-2")
    execute(CancelOrder(order_id="four"), tenant="main", actor="user:1")
    settle()
    return {service: list(streams(service)) for service in PROJECTING}


def streams(service: str) -> Iterator[list[Event]]:
    """The events of each stream, of each source, that a service's projections hear."""
    heard = {m for h in handlers(service) if h.kind == "projects" for m in h.message_types}
    for source in services():
        found: dict[str, list[Event]] = {}
        columns = f"{', '.join(ENVELOPE)}, recorded_at"
        for row in fetch(source.label, f'SELECT {columns} FROM "{{log}}" ORDER BY position'):
            entry = Stored(position=0, **dict(zip((*ENVELOPE, "recorded_at"), row, strict=True)))
            if type(entry.message()) in heard:
                event = entry.message(), entry.context(entry.recorded_at)
                found.setdefault(entry.stream, []).append(event)
        yield from found.values()


def shuffled(streams: list[list[Event]], order: random.Random) -> list[Event]:
    """Some order of all events that keeps each stream's own."""
    turns = [number for number, stream in enumerate(streams) for _ in stream]
    order.shuffle(turns)
    left = [iter(stream) for stream in streams]
    return [next(left[turn]) for turn in turns]


@pytest.mark.parametrize("service", PROJECTING)
def test_every_order_of_the_streams_ends_in_the_rows_of_the_live_tables(
    service: str, history: dict[str, list[list[Event]]]
) -> None:
    # given what the workers made of the history
    live = state(row for model in read_models(service) for row in model._default_manager.all())
    assert live

    # when it comes in other orders, one stream last in each
    ends = [
        state(project(service, shuffled(history[service], random.Random(n)))) for n in range(TIMES)
    ]
    for late in history[service]:
        first = [stream for stream in history[service] if stream is not late]
        order = [*shuffled(first, random.Random(0)), *late]
        ends.append(state(project(service, order)))

    # then the rows are the same, and no projection has been left out
    assert [end for end in ends if end != live] == []
    told = {type(event) for stream in history[service] for event, _ in stream}
    silent = [
        h.name for h in handlers(service) if h.kind == "projects" and not told & {*h.message_types}
    ]
    assert silent == []
