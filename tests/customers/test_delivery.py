"""The same rows when real workers store them, batch after batch."""

from __future__ import annotations

from typing import Any

import pytest

from customers.models import Customer, CustomerActivity, OrderSummary
from ecommerce.messaging.messages import Message
from ecommerce.messaging.worker import Worker
from tests.customers import examples
from tests.customers.examples import LOCAL, created
from tests.projecting import columns, context, project, publish, state


def without_recording_times(rows: Any) -> list[tuple[str, dict[str, Any]]]:
    left_out = {"updated_at", "reached"}
    return [
        (kind, {name: value for name, value in found.items() if name not in left_out})
        for kind, found in state(rows)
    ]


@pytest.mark.django_db(transaction=True)
def test_rows_are_stored_batch_after_batch_whichever_service_is_heard_first() -> None:
    # given
    first = created("o1")
    batches: list[tuple[str, list[Message]]] = [
        ("payments", [examples.payment_requested(), examples.processed()]),
        ("orders", [first, created("o2", total=500, currency="EUR")]),
        ("shipping", [examples.shipment()]),
        ("orders", [examples.cancelled(first)]),
        ("payments", [examples.refunded()]),
    ]
    # when
    for source, events in batches:
        publish(source, events)
        Worker(["customers"]).drain(10)
    # then
    everything = [(event, context()) for _, events in batches for event in events]
    stored = [*OrderSummary.objects.all(), *CustomerActivity.objects.all()]
    assert without_recording_times(stored) == without_recording_times(
        project("customers", everything)
    )
    (customer,) = Customer.objects.all()
    assert columns(customer) == {
        "tenant": "main",
        "customer_id": "cust-123",
        "guest": True,
        "name": "",
        "email": "",
        "phone": "",
        "address": None,
        "unwanted": [],
        "quiet": None,
        "registered_at": LOCAL,
    }
