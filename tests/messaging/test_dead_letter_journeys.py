"""Dead letters of every kind of handler, from the fault to the end, by whole workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connections
from pytest_django.fixtures import Settings

from customers import projections
from customers.models import OrderSummary
from ecommerce.messaging import desk, redrive
from ecommerce.messaging.database import connect
from ecommerce.messaging.projections import compare, differences, groups
from ecommerce.messaging.rebuilds import run
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.services import service
from ecommerce.messaging.trace import trace, unfinished
from payments.models import Payment
from tests.messaging.calls import Gateway, in_ledger, pay
from tests.messaging.conftest import Clock
from tests.messaging.elsewhere import ALIAS, Elsewhere
from tests.messaging.examples import restocked
from tests.messaging.letters import failing_handler, letters, noted, one, states
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import Puppet, fetch, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def lose_answers() -> None:
    raise ConnectionError("the answer is lost")


def test_a_call_is_given_up_retried_and_its_answer_recorded(gateway: Gateway, clock: Clock) -> None:
    # given a charge whose answers are lost until it is given up
    gateway.after = lose_answers
    pay()
    for _ in range(4):
        settle()
        clock.advance(9)
    (letter,) = letters("payments")
    (dead,) = unfinished(trace("main", "order/o1"))
    assert (dead.handler, dead.outcome) == ("payments.charge_card", "dead")

    # when the way is free again and somebody retries it
    gateway.after = lambda: None
    desk.retry(one(letter), actor="user:1")
    clock.advance(3)
    settle()

    # then the payment is as it would have been
    assert Payment.objects.get().status == "Captured"
    assert in_ledger() == [("captured", 5)]
    assert states("payments") == ["resolved"]
    assert "dead" not in [hop.outcome for hop in unfinished(trace("main", "order/o1"))]


def test_a_projections_letter_is_left_out_of_rebuilds_until_it_is_retried(
    clock: Clock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an event that a projection could not apply, and gave up
    settings.SIMULATED_DELIVERY_SECONDS = 0
    open_shop()
    with monkeypatch.context() as broken:
        broken.delattr(projections, "_place")
        place("one")
        for _ in range(12):
            settle()
            clock.advance(301)
    (group,) = groups([OrderSummary])
    assert OrderSummary.objects.get(order_id="one").total == 0
    assert compare(group).missed == 1

    # when somebody gives it up, then a rebuild goes on leaving it out
    (letter,) = letters("customers")
    desk.give_up(one(letter), actor="user:1")
    assert compare(group).missed == 1
    assert differences(OrderSummary) == []

    # when it is retried after all
    desk.retry(one(letter), actor="user:1")
    settle()  # it is sent
    settle()  # and done

    # then a rebuild takes it in as well
    assert states("customers") == ["resolved"]
    assert compare(group).missed == 0
    run(group, "user:1")
    assert differences() == []
    assert OrderSummary.objects.get(order_id="one").total > 0


def test_a_letter_of_a_service_in_another_database_is_retried_there(
    elsewhere: Elsewhere, puppet: Callable[..., Puppet]
) -> None:
    # given a message that came through the inbox and was given up
    elsewhere.move("analytics")
    connections[ALIAS].connect()  # Django would refuse to: it came after the test began
    faults = failing_handler()
    faults.quantities.add(13)
    worker = puppet("analytics", "worker")
    write("inventory", restocked("a", 13))
    with connect("default") as source:
        names = worker.drain.names["inbox"]
        Relay(service("inventory"), worker.service, source, worker.conn, names).copy()
    worker.work()
    (letter,) = letters()
    faults.quantities.clear()

    # when it is retried
    desk.retry(one(letter), actor="user:1", rate=5)
    assert fetch("analytics", "SELECT state FROM {dead}") == [("retrying",)]
    redrive.send_due(worker.conn, worker.service)
    worker.hold()
    worker.retry()

    # then it is done there
    assert noted() == [("a", 13)]
    assert states() == ["resolved"]
    connections[ALIAS].close()
