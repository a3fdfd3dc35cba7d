"""The timers' page: what comes by the clock, in its order, and for whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from ecommerce.console.pages.timers import TALLEST, _bar
from ecommerce.messaging import agenda
from ecommerce.messaging.agenda import Ping
from ecommerce.messaging.database import connect
from ecommerce.messaging.services import service
from tests.admin import rows
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/timers"
SOON = datetime.now(UTC) + timedelta(hours=1)


def timer(number: int, **given: object) -> None:
    due = SOON + timedelta(minutes=number)
    rows.make(service("shipping").tables.timer, number, due_at=due, **given)


def test_timers_are_listed_in_the_order_in_which_they_are_due() -> None:
    for number in (3, 1, 2):
        timer(number, stream=f"order/{number}")
    timer(0, tenant="other", stream="order/theirs")

    assert [each.stream for each in agenda.timers("main", 2)] == ["order/1", "order/2"]
    assert [each.stream for each in agenda.timers("other", 2)] == ["order/theirs"]


def test_calls_to_come_are_listed_in_the_order_in_which_they_are_due() -> None:
    effect = service("payments").tables.effect
    for number, partition in ((2, 3), (1, 60)):
        due = SOON + timedelta(minutes=number)
        rows.make(effect, number, due_at=due, partition=partition, stream=f"order/{number}")
    rows.make(effect, 4, due_at=SOON, tenant="other")

    assert [each.stream for each in agenda.calls("main", 5)] == ["order/1", "order/2"]


def test_the_deadline_of_an_order_is_listed_until_it_has_ended() -> None:
    open_shop()
    place("one")

    before = agenda.expiries("main", 5)
    theirs = agenda.expiries("other", 5)
    settle()

    assert [(each.service, each.key) for each in before] == [("orders", "one")]
    assert theirs == []
    assert "one" not in [each.key for each in agenda.expiries("main", 5) if each.due_at < SOON]


def test_schedules_tell_their_rule_and_when_they_run() -> None:
    settle()

    (found,) = [each for each in agenda.planned() if each.name == "orders.ping"]

    assert (found.service, found.rule) == ("orders", "* * * * *")


def test_a_canarys_pings_are_listed_with_how_long_the_answer_took() -> None:
    settle()
    with connect("default") as conn:
        conn.execute("UPDATE orders_schedule SET due_at = now() - interval '1 minute'")
    settle()

    ping = agenda.pings()["orders"][0]

    assert ping.took is not None
    assert 0 < ping.took < 60


def test_bars_tell_slow_missed_and_awaited_answers_apart() -> None:
    now = datetime.now(UTC)

    quick = _bar(0, Ping("orders", now, 0.01))
    slow = _bar(1, Ping("orders", now, 5.0))
    missed = _bar(2, Ping("orders", now - timedelta(hours=1), None))
    awaited = _bar(3, Ping("orders", now, None))

    assert (quick.height, slow.height, missed.height, awaited.height) == (2, TALLEST, TALLEST, 2)
    assert [each.missed for each in (quick, slow, missed, awaited)] == [False, False, True, False]
    assert missed.title.endswith("no answer")


def test_the_page_shows_this_shops_things(operator: Client) -> None:
    timer(1, stream="order/mine")
    timer(2, stream="order/theirs", tenant="other")
    settle()

    text = operator.get(PAGE).content.decode()

    assert "order/mine" in text
    assert "theirs" not in text
    assert "orders.ping" in text


def test_the_page_costs_the_same_however_much_there_is(operator: Client) -> None:
    operator.get(PAGE)
    with counted() as few:
        operator.get(PAGE)
    open_shop()
    for number in range(5):
        timer(number)
        place(f"order-{number}")
    with counted() as many:
        operator.get(PAGE)

    assert len(many) == len(few) <= 15
