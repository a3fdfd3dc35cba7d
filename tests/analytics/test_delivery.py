"""The same figures when real workers store them, batch after batch."""

from __future__ import annotations

import pytest

from ecommerce.messaging.messages import Message
from ecommerce.messaging.projections import read_models
from ecommerce.messaging.worker import Worker
from tests.analytics.examples import DESK, MOUSE, cancelled, placed, product, project
from tests.projecting import publish, state


@pytest.mark.django_db(transaction=True)
def test_figures_are_stored_batch_after_batch() -> None:
    # given
    first = placed("o1", MOUSE, DESK)
    batches: list[list[Message]] = [
        [first, placed("o2", customer_id="cust-2")],
        [cancelled(first), placed("o3", MOUSE, DESK, currency="EUR"), placed("o4", DESK)],
    ]
    publish("inventory", [product("mouse")])
    # when
    for batch in batches:
        publish("orders", batch)
        Worker(["analytics"]).drain(10)
    # then
    stored = [row for model in read_models("analytics") for row in model._default_manager.all()]
    assert state(stored) == state(project([product("mouse"), *batches[0], *batches[1]]))
