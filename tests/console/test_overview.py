"""The overview: what it measures, what it says of it, who may see it, and that nobody pays for it
when nobody looks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from ecommerce.console import traffic
from ecommerce.console.pages import overview
from ecommerce.console.picture import PLACES, lines
from ecommerce.console.traffic import State, duration, edges, rate, states
from ecommerce.messaging import gauges
from ecommerce.messaging.database import connect
from ecommerce.messaging.gauges import Gauge, percentile
from ecommerce.messaging.services import service, services
from ecommerce.web import live
from tests.admin import rows
from tests.console.counting import counted
from tests.customers.shelves import until
from tests.customers.test_shop_live import Stream
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import Puppet

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/"


@pytest.fixture(autouse=True)
def _quick_delivery(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0


@pytest.fixture
def at_work(transactional_db: None) -> Iterator[None]:
    """A worker that holds all of orders."""
    puppet = Puppet("orders", "vm:1:00000000")
    puppet.hold()
    yield
    puppet.conn.close()


def measured(label: str, *tenants: str) -> Gauge:
    (found,) = [each for each in gauges.gauges(tenants or ("main",)) if each.service == label]
    return found


def main() -> State:
    return states(["main"])["main"]


# What is measured


def test_what_nobody_has_delivered_waits_and_is_counted() -> None:
    open_shop()
    for number in range(3):
        place(f"order-{number}")

    before = measured("inventory")
    settle()

    assert before.waiting == 3
    assert before.oldest > 0
    assert measured("inventory").waiting == 0
    assert measured("inventory").oldest == 0


def test_of_a_long_backlog_a_stretch_is_looked_at_and_the_rest_reckoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_shop()
    for number in range(12):
        place(f"order-{number}")
    monkeypatch.setattr(gauges, "STRETCH", 6)

    assert measured("inventory").waiting == 12


def test_rates_tell_who_sent_and_who_took_how_much() -> None:
    open_shop()
    place("one")
    settle()

    orders, inventory = measured("orders"), measured("inventory")

    assert orders.sent["inventory.ReserveInventory"] == pytest.approx(0.1)
    assert inventory.taken["inventory.reserve_inventory"] == pytest.approx(0.1)
    assert orders.asked == {"orders.create_order": pytest.approx(0.1)}
    assert sum(inventory.asked.values()) == pytest.approx(0.2)
    """The two products that people made."""


def test_rates_of_a_busy_service_are_reckoned_from_its_newest_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_shop()
    for number in range(20):
        place(f"order-{number}")
    monkeypatch.setattr(gauges, "NEWEST_SENT", 10)

    assert sum(measured("orders").sent.values()) > 1


def test_percentiles_come_from_all_histograms_together() -> None:
    fast, slow = {gauges.STEPS * 7: 98}, {gauges.STEPS * 14: 2}

    assert percentile([], 0.5) is None
    assert percentile([fast, slow], 0.5) == pytest.approx(1.1, rel=0.01)
    assert percentile([fast, slow], 0.99) == pytest.approx(1202, rel=0.01)


def test_what_is_stuck_is_counted_for_the_shop_that_asks() -> None:
    for number, tenant in enumerate(("main", "main", "other")):
        rows.make(service("analytics").tables.dead, number, tenant=tenant, state="waiting")
    rows.make(service("analytics").tables.dead, 3, tenant="main", state="given_up")
    rows.make(service("analytics").tables.parked, tenant="other")

    found = measured("analytics", "main", "other", "third")

    assert found.dead == {"main": 2, "other": 1, "third": 0}
    assert found.parked == {"main": 0, "other": 1, "third": 0}


def test_workers_are_those_that_were_heard_of(at_work: None) -> None:

    found = measured("orders")

    assert found.workers == {"vm:1:00000000"}
    assert (found.held, found.partitions) == (64, 64)
    assert measured("payments").workers == frozenset()


# What is said


def test_the_overview_says_what_was_measured() -> None:
    open_shop()
    place("one")
    waiting = main()
    settle()
    now = main()

    assert waiting.texts["total.orders"] == "1"
    assert waiting.texts["total.open"] == "1"
    assert waiting.texts["inventory.waiting"] == "1"
    assert waiting.moods["inventory"] == "silent"
    assert now.texts["total.open"] == "0"
    assert now.texts["orders.stuck"] == "0"
    assert now.texts["total.p50"] != traffic.NOTHING
    assert now.paces["orders-inventory"] == 1
    assert now.paces["people-orders"] == 1
    assert now.paces["customers-notifications"] == 0


def test_another_shops_orders_are_not_counted() -> None:
    open_shop()
    place("one")

    found = states(["main", "other"])

    assert found["main"].texts["total.orders"] == "1"
    assert found["other"].texts["total.orders"] == "0"
    assert found["other"].texts["total.open"] == "0"


def test_moods_tell_the_worst_first(at_work: None) -> None:
    calm = measured("orders")
    stuck = Gauge(**{**vars(calm), "dead": {"main": 1}, "oldest": 60.0})
    slow = Gauge(**{**vars(calm), "oldest": 60.0, "taken": {"orders.create_order": 1.0}})
    busy = Gauge(**{**vars(calm), "taken": {"orders.create_order": 1.0}})
    silent = Gauge(**{**vars(stuck), "workers": frozenset()})

    said = [traffic.mood(each, "main") for each in (calm, busy, slow, stuck, silent)]

    assert said == ["calm", "busy", "slow", "stuck", "silent"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 ms"), (0.0042, "4 ms"), (1.25, "1.2 s"), (42, "42 s"), (200, "3.3 min"), (7200, "2.0 h"),
     (900_000, "10 d")],
)  # fmt: skip
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_rates_have_the_digits_that_say_something() -> None:
    assert [rate(each) for each in (0, 0.14, 9.96, 10.4, 1234)] == [
        "0",
        "0.1",
        "10.0",
        "10",
        "1,234",
    ]


def test_every_service_and_flow_has_a_place_in_the_picture() -> None:
    assert set(PLACES) == {"people", *(config.label for config in services())}
    assert {line.name for line in lines()} == {traffic.name(edge) for edge in edges()}
    assert len(set(PLACES.values())) == len(PLACES)


# The page


def test_the_page_shows_each_service_without_scripts(operator: Client) -> None:
    open_shop()
    place("one")

    text = operator.get(PAGE).content.decode()

    assert 'data-text="total.orders">1<' in text
    assert 'data-text="inventory.waiting">1<' in text
    for config in services():
        assert f'data-mood-of="{config.label}"' in text


def test_the_page_costs_the_same_however_much_there_is(operator: Client) -> None:
    open_shop()
    operator.get(PAGE)
    with counted() as few:
        operator.get(PAGE)
    for number in range(5):
        place(f"order-{number}")
    settle()
    with counted() as many:
        operator.get(PAGE)

    assert len(many) == len(few) <= 15


def test_nothing_but_the_newest_entries_of_a_log_is_read() -> None:
    """However the planner likes a small table: along its key, never from end to end."""
    open_shop()
    place("one")
    settle()
    values: dict[str, Any] = {"tenants": ["main"], "no_shop": "-"}
    statement = gauges._statement(service("orders"), values)

    with connect("default") as conn:
        # Whether by way of a bitmap, depends on when statistics were made last.
        conn.execute("SET enable_bitmapscan = off")
        plan = "\n".join(row[0] for row in conn.execute(f"EXPLAIN {statement}", values))

    assert not re.search(r"Seq Scan on (orders_log|\w+_delivery(_\d+|_default)?) ", plan)
    assert "Index Scan using orders_log_pkey" in plan


@pytest.mark.parametrize(("scope", "status"), [("operations", 200), ("orders:read", 403)])
@pytest.mark.parametrize(
    "address",
    [PAGE, "/console/workers", "/console/timers", "/console/messages", "/console/mailbox"],
)
def test_only_operators_see_it(
    with_scopes: Callable[..., Client], address: str, scope: str, status: int
) -> None:
    assert with_scopes(scope).get(address).status_code == status


@pytest.mark.parametrize(
    "address",
    [PAGE, "/console/workers", "/console/timers", "/console/messages", "/console/mailbox"],
)
def test_somebody_unknown_is_asked_to_sign_in(closed_shop: None, address: str) -> None:
    answer = Client().get(address)

    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (
        302,
        "/shop/sign-in",
    )


# The stream


def test_the_stream_tells_all_viewers_what_one_look_found() -> None:
    open_shop()

    async def watch() -> tuple[list[Any], int]:
        streams = [Stream(live.address("overview", "main", "now")) for _ in range(20)]
        for stream in streams:
            await stream.said(1)
        (feed,) = live._feeds.values()
        await asyncio.to_thread(order_something)
        for stream in streams:
            await stream.said(2)
        looks = feed.looks
        told = [json.loads(json.dumps(stream.states[-1])) for stream in streams]
        for stream in streams:
            await stream.leave()
        return told, looks

    told, looks = asyncio.run(watch())

    assert {each["texts"]["total.orders"] for each in told} == {"1"}
    assert looks < 20
    until(lambda: not live._feeds)


def order_something() -> None:
    try:
        place("one")
    finally:
        connection.close()


def test_nobody_is_asked_when_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)

    async def watch() -> Any:
        stream = Stream(live.address("overview", "main", "now"))
        await stream.said(1)
        (feed,) = live._feeds.values()
        await stream.leave()
        return feed

    feed = asyncio.run(watch())
    until(lambda: not live._feeds)
    feed.join(10)

    assert not feed.is_alive()


def test_a_stream_of_another_id_tells_nothing() -> None:
    assert list(overview._sample([("main", "other")])) == []
