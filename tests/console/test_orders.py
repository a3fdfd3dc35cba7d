"""The console's orders: the list, and one order with its deliveries, its past and its ledgers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ecommerce.console.pages.hop_map import LEFT, WIDTH, hop_map
from ecommerce.console.pages.hops import breakdown, duration, spans
from ecommerce.messaging.bus import execute
from ecommerce.messaging.trace import trace
from inventory import projections
from orders.contracts import CancelOrder
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

LIST = "/console/orders"
ONE = "/console/orders/one"


@pytest.fixture(autouse=True)
def _quick_delivery(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0


def shown(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def listed(client: Client, **query: str) -> list[str]:
    return re.findall(
        r'class="mono order-id" href="/console/orders/([^"]+)"', shown(client, LIST, **query)
    )


# The list


def test_orders_are_listed_newest_first_and_found_by_what_is_asked_for(operator: Client) -> None:
    open_shop()
    place("one")
    place("two", card="card_declined", customer="cust-2")
    settle()

    assert listed(operator) == ["two", "one"]
    assert listed(operator, status="Cancelled") == ["two"]
    assert listed(operator, placed="15m") == ["two", "one"]
    assert listed(operator, q="one") == ["one"]
    assert listed(operator, q="cust-2") == ["two"]
    assert listed(operator, q="cust-2", status="Delivered") == []
    assert listed(operator, status="nonsense", placed="nonsense") == ["two", "one"]


def test_a_long_list_is_read_page_by_page(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecommerce.console.pages.orders.ON_A_PAGE", 2)
    open_shop()
    for name in ("a", "b", "c"):
        place(name)
    settle()

    first = shown(operator, LIST)
    (cursor,) = re.findall(r'rel="next" href="\?cursor=([^"]+)"', first)

    assert listed(operator) == ["c", "b"]
    assert listed(operator, cursor=cursor) == ["a"]
    assert operator.get(LIST, {"cursor": "nonsense"}).status_code == 404


def test_the_list_costs_the_same_however_many_orders_there_are(operator: Client) -> None:
    open_shop()
    place("a")
    settle()
    with counted() as few:
        listed(operator)
    for name in ("b", "c", "d"):
        place(name)
    settle()

    with counted() as many:
        listed(operator)

    assert len(many) == len(few) <= 15


# One order


def test_an_order_is_shown_with_its_deliveries_money_stock_and_words(operator: Client) -> None:
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    settle()

    text = shown(operator, ONE)

    assert "All is done." in text
    for said in ("charge_card", "buy_label", "Captured", "Left the warehouse", "OrderDelivered"):
        assert said in text
    assert text.count('class="hop ') == len(spans(trace("main", "order/one"), datetime.now(UTC)))


def test_only_who_may_see_customers_is_shown_where_it_goes(
    with_scopes: Callable[..., Client],
) -> None:
    open_shop()
    place("one")
    settle()

    assert "12 Harbor Street" not in shown(with_scopes("operations"), ONE)
    assert "12 Harbor Street" in shown(with_scopes("operations", "customers:read"), ONE)


def test_the_page_costs_the_same_however_many_orders_there_are(operator: Client) -> None:
    open_shop()
    place("one")
    settle()
    shown(operator, ONE)
    with counted() as few:
        shown(operator, ONE)
    for name in ("b", "c", "d"):
        place(name)
    settle()

    with counted() as many:
        shown(operator, ONE)

    assert len(many) == len(few), many
    assert len(few) <= 15 + 2, few  # of these two find out who asks


@pytest.mark.parametrize("address", [LIST, ONE])
def test_who_may_not_see_the_console_sees_no_orders(
    address: str, with_scopes: Callable[..., Client]
) -> None:
    open_shop()
    place("one")

    assert with_scopes("orders:read", "customers:read").get(address).status_code == 403
    assert Client().get(address).status_code == 302


def test_another_shops_order_does_not_exist(with_scopes: Callable[..., Client]) -> None:
    open_shop()
    place("one")
    settle()
    stranger = with_scopes("operations", tenant="other")

    assert stranger.get(ONE).status_code == 404
    assert listed(stranger) == []
    assert listed(stranger, q="one") == []


def test_an_unknown_order_is_not_found(operator: Client) -> None:
    assert operator.get("/console/orders/nobody").status_code == 404


# What is not over, or went wrong


def test_an_order_that_nobody_has_worked_on_waits(operator: Client) -> None:
    open_shop()
    place("one")

    text = shown(operator, ONE)

    assert "6 still to be done." in text
    assert "hop--waiting" in text
    assert 'hx-trigger="load delay:3s"' in text


def test_failed_attempts_and_what_is_tried_again_are_marked(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop()
    with monkeypatch.context() as broken:
        broken.delattr(projections, "InventoryReserved")
        place("one", card="card_unavailable")
        settle()

    text = shown(operator, ONE)

    assert "hop--failed hop--performs" in text
    assert "hop--parked hop--projects" in text
    assert "hop--pending" in text
    assert "InventoryReserved" in text


# Time


def test_the_breakdown_adds_up_to_the_whole() -> None:
    open_shop()
    place("one")
    settle()

    found = spans(trace("main", "order/one"), datetime.now(UTC))
    took = breakdown(found)

    assert sum(took.values()) == pytest.approx(max(span.end for span in found))
    assert took["outside"] > 0
    assert took["running"] > 0


def test_nobody_waits_before_what_caused_it_has_begun() -> None:
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    settle()

    found = spans(trace("main", "order/one"), datetime.now(UTC))

    assert all(0 <= span.begin <= span.start <= span.end for span in found)
    caused = [span for span in found if span.cause]
    assert len(caused) > 20
    assert all(span.cause.start <= span.begin for span in caused if span.cause)


@pytest.mark.parametrize("true", [True, False])
def test_every_bar_is_in_the_picture_and_covers_no_other(true: bool) -> None:
    open_shop()
    place("one", {"mouse": 2, "desk": 1})
    settle()

    picture = hop_map(spans(trace("main", "order/one"), datetime.now(UTC)), true=true)

    for lane in picture.lanes:
        for bar in lane.bars:
            assert lane.y <= bar.y < lane.y + lane.height
            assert LEFT - 0.1 <= bar.x <= bar.start <= LEFT + WIDTH + 0.1
        rows = {bar.y for bar in lane.bars}
        for row in rows:
            bars = sorted((bar for bar in lane.bars if bar.y == row), key=lambda bar: bar.x)
            assert all(a.start + a.width <= b.x for a, b in pairwise(bars))


def test_a_long_wait_is_shortened_unless_the_scale_is_true() -> None:
    open_shop()
    place("one")
    trees = trace("main", "order/one")

    found = spans(trees, datetime.now(UTC) + timedelta(minutes=5))

    assert [cut.label for cut in hop_map(found).cuts] == ["5 min 0 s"]
    assert hop_map(found, true=True).cuts == []


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 ms"), (0.183, "0.18 ms"), (12.4, "12 ms"), (1400, "1.4 s"), (123_000, "2 min 3 s"),
     (7_260_000, "2 h 1 min")],
)  # fmt: skip
def test_a_duration_is_said_as_people_do(ms: float, said: str) -> None:
    assert duration(ms) == said


# The time machine


def statuses(text: str) -> list[str]:
    return re.findall(r"data-then>([^<]*)<", text)


def test_the_past_is_what_the_events_had_made_by_then(operator: Client) -> None:
    open_shop()
    place("one")
    settle()

    first = shown(operator, ONE, at="1")
    second = shown(operator, ONE, at="2")
    third = shown(operator, ONE, at="3")
    last = shown(operator, ONE)

    assert statuses(first) == ["Pending"]
    assert "now Delivered" in first
    assert statuses(second) == ["Pending", "Reserved"]
    assert statuses(last) == ["Delivered", "Committed", "Captured", "Delivered"]
    assert "<del>Pending</del> <ins>Reserved</ins>" in third


def test_the_ledgers_tell_of_stock_given_back_and_money_not_taken(operator: Client) -> None:
    open_shop()
    place("one", card="card_declined")
    place("two")
    execute(CancelOrder(order_id="two"), tenant="main", actor="user:7")
    settle()

    declined, cancelled = shown(operator, ONE), shown(operator, "/console/orders/two")

    assert statuses(declined)[0] == statuses(cancelled)[0] == "Cancelled"
    assert "Declined: " in declined
    assert "Back on the shelf" in declined
    assert "No charge was asked for." in cancelled


@pytest.mark.parametrize("at", ["0", "999", "-1", "x", "99999999999", "²"])
def test_a_moment_that_never_was_is_the_nearest_one(at: str, operator: Client) -> None:
    open_shop()
    place("one")

    assert statuses(shown(operator, ONE, at=at)) == ["Pending"]


def test_who_looks_at_the_last_event_is_shown_the_next_one_too(operator: Client) -> None:
    open_shop()
    place("one")
    assert statuses(shown(operator, ONE, at="1", of="1")) == ["Pending"]
    settle()

    assert statuses(shown(operator, ONE, at="1", of="1"))[0] == "Delivered"
    assert statuses(shown(operator, ONE, at="1", of="9"))[0] == "Pending"
