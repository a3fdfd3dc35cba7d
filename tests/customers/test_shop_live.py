"""Live streams, spoken to as a server does: who may open one, and what it says when."""

from __future__ import annotations

import asyncio
import html
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from customers import pages  # noqa: F401  declares what can be watched
from customers.models import OrderSummary, Product
from ecommerce.identity.models import User
from ecommerce.messaging import wakeup
from ecommerce.web import live
from tests.customers.shelves import until

pytestmark = pytest.mark.django_db(transaction=True)


class Stream:
    """One open stream."""

    def __init__(self, address: str) -> None:
        path, _, query = address.partition("?")
        self.scope = {"type": "http", "path": path, "query_string": query.encode()}
        self.status = 0
        self.body = ""
        self.leaving = asyncio.Event()
        self.more = asyncio.Event()
        self.task = asyncio.ensure_future(live.stream(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.leaving.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"").decode()
        self.more.set()

    @property
    def states(self) -> list[Any]:
        lines = [line for line in self.body.split("\n") if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: ")) for line in lines]

    async def said(self, count: int) -> list[Any]:
        """What it has said, once it has said so much."""
        async with asyncio.timeout(20):
            while len(self.states) < count:
                self.more.clear()
                await self.more.wait()
        return self.states

    async def leave(self) -> None:
        self.leaving.set()
        await self.task


def order(order_id: str = "o1", tenant: str = "main", **fields: Any) -> OrderSummary:
    known = {
        "customer_id": "c1",
        "currency": "USD",
        "status": "Pending",
        "created_at": "2026-03-01T12:00:00Z",
        "updated_at": "2026-03-01T12:00:00Z",
    }
    return OrderSummary.objects.create(tenant=tenant, order_id=order_id, **known | fields)


def change(order_id: str = "o1", **fields: Any) -> None:
    """Commit a change, as a worker does; to be called in a thread of its own."""
    try:
        OrderSummary.objects.filter(order_id=order_id).update(**fields)
    finally:
        connection.close()
    wakeup.wake("default")


@pytest.fixture(autouse=True)
def _nobody_watches() -> Iterator[None]:
    yield
    until(lambda: not live._feeds)


def test_a_change_is_told_within_moments() -> None:
    order()

    async def watch() -> tuple[list[Any], float]:
        stream = Stream(live.address("orders", "main", "o1"))
        await stream.said(1)
        began = time.monotonic()
        await asyncio.to_thread(change, status="Reserved")
        states = await stream.said(2)
        await stream.leave()
        return states, time.monotonic() - began

    states, took = asyncio.run(watch())

    assert states == [
        {"status": "Pending", "payment": "", "shipment": ""},
        {"status": "Reserved", "payment": "", "shipment": ""},
    ]
    assert took < live.LOOK_SECONDS


def test_a_lost_notification_costs_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    order()
    monkeypatch.setattr(wakeup, "wake", lambda alias: None)

    async def watch() -> list[Any]:
        stream = Stream(live.address("orders", "main", "o1"))
        await stream.said(1)
        await asyncio.to_thread(change, status="Reserved")
        states = await stream.said(2)
        await stream.leave()
        return states

    assert asyncio.run(watch())[-1]["status"] == "Reserved"


@pytest.mark.parametrize(
    ("status", "payment", "ends"),
    [
        ("Delivered", "Captured", True),
        ("Cancelled", "", True),
        ("Cancelled", "Refunded", True),
        ("Cancelled", "Captured", False),
        ("Shipped", "Captured", False),
    ],
)
def test_a_stream_ends_with_its_order(status: str, payment: str, ends: bool) -> None:
    order(status=status, payment_status=payment)

    async def watch() -> Stream:
        stream = Stream(live.address("orders", "main", "o1"))
        await stream.said(1)
        if ends:
            await stream.task
        else:
            await stream.leave()
        return stream

    assert ("event: end" in asyncio.run(watch()).body) is ends


def test_many_streams_are_one_thread_and_one_query() -> None:
    order()
    order("o2")

    async def watch() -> tuple[int, int, list[Any]]:
        streams = [Stream(live.address("orders", "main", f"o{1 + n % 2}")) for n in range(200)]
        for stream in streams:
            await stream.said(1)
        threads = [t for t in threading.enumerate() if t.name.startswith("live-")]
        (feed,) = live._feeds.values()
        before = feed.looks
        await asyncio.to_thread(change, status="Paid")
        for stream in streams[::2]:
            await stream.said(2)
        looks = feed.looks - before
        others = [len(stream.states) for stream in streams[1::2]]
        for stream in streams:
            await stream.leave()
        return len(threads), looks, others

    threads, looks, others = asyncio.run(watch())

    assert threads == 1
    assert looks <= 3
    assert set(others) == {1}


@pytest.mark.parametrize(
    "address",
    [
        "/events/orders/o1",
        "/events/orders/o1?ticket=",
        "/events/orders/o1?ticket=nonsense",
        live.address("orders", "main", "o2").replace("/o2?", "/o1?"),
        live.address("orders", "main", "o1").replace("/orders/", "/products/"),
        live.address("secrets", "main", "o1"),
        "/events/",
        "/events/orders",
    ],
)
def test_without_a_ticket_for_it_there_is_nothing(address: str) -> None:
    order()

    async def ask() -> Stream:
        stream = Stream(address)
        await stream.task
        return stream

    stream = asyncio.run(ask())

    assert (stream.status, stream.body) == (404, "")


def test_a_ticket_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    order()
    address = live.address("orders", "main", "o1")
    monkeypatch.setattr(live, "TICKET_SECONDS", -1)

    async def ask() -> int:
        stream = Stream(address)
        await stream.task
        return stream.status

    assert asyncio.run(ask()) == 404


def test_another_tenants_order_of_the_same_id_is_not_told() -> None:
    order(tenant="other", status="Paid")
    order(status="Pending")

    async def watch() -> list[Any]:
        stream = Stream(live.address("orders", "main", "o1"))
        states = await stream.said(1)
        await stream.leave()
        return states

    assert [state["status"] for state in asyncio.run(watch())] == ["Pending"]


def test_more_streams_than_a_process_holds_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    order()
    monkeypatch.setattr(live, "MOST_STREAMS", 2)

    async def watch() -> list[int]:
        streams = [Stream(live.address("orders", "main", "o1")) for _ in range(2)]
        for stream in streams:
            await stream.said(1)
        third = Stream(live.address("orders", "main", "o1"))
        await third.task
        for stream in streams:
            await stream.leave()
        return [stream.status for stream in (*streams, third)]

    assert asyncio.run(watch()) == [200, 200, 503]


def test_a_product_tells_how_many_there_are() -> None:
    Product.objects.create(
        tenant="main", product_id="p1", available=3, created_at="2026-03-01T12:00:00Z"
    )

    async def watch() -> list[Any]:
        stream = Stream(live.address("products", "main", "p1"))
        states = await stream.said(1)
        await stream.leave()
        return states

    assert asyncio.run(watch()) == [{"available": 3}]


@pytest.mark.parametrize("status", ["Pending", "Shipped"])
def test_a_page_knows_the_state_that_its_stream_says_first(client: Client, status: str) -> None:
    found = order(status=status, payment_status="Captured")
    client.force_login(User.objects.create_user("s", is_staff=True, tenant_id="main"))

    async def watch() -> list[Any]:
        stream = Stream(live.address("orders", "main", "o1"))
        states = await stream.said(1)
        await stream.leave()
        return states

    text = client.get(f"/shop/orders/{found.order_id}").content.decode()
    shown = re.search('data-live-now="([^"]*)"', text)
    assert shown is not None
    assert [json.loads(html.unescape(shown[1]))] == asyncio.run(watch())


def test_a_lost_connection_is_made_again() -> None:
    order()

    async def watch() -> list[Any]:
        stream = Stream(live.address("orders", "main", "o1"))
        await stream.said(1)
        await asyncio.to_thread(end_connections)
        await asyncio.to_thread(change, status="Paid")
        states = await stream.said(2)
        await stream.leave()
        return states

    assert asyncio.run(watch())[-1]["status"] == "Paid"


def end_connections() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'live' AND datname = current_database()"
            )
    finally:
        connection.close()
