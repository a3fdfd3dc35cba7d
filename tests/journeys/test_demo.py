"""The demo drives a running shop over HTTP and says whether all went well."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any, ClassVar

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from ecommerce.console.client import Client, Unreachable
from ecommerce.console.demo import ENDS, Product, percentile, plan
from ecommerce.identity import tenants
from ecommerce.messaging import database, wakeup
from ecommerce.messaging.bus import execute
from ecommerce.messaging.worker import Worker
from inventory.contracts import CreateProduct
from orders.models import Order
from payments.models import Payment

PRODUCTS = [
    Product(productId=f"prod-{number}", price=19.99 + number, available=10) for number in range(5)
]


def demo(*args: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("demo", *args, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def shop(live_server: LiveServer, settings: Settings) -> Iterator[str]:
    """A shop that sells five products, with a web server and no worker."""
    settings.SHOP_OPEN = True
    tenants.forget()
    for product in PRODUCTS:
        command = CreateProduct(
            product_id=product.id, name=product.id, description="", price=product.cents,
            currency="USD", initial_stock=product.available,
        )  # fmt: skip
        execute(command, tenant="main", actor="test")
    Worker().drain(10)
    yield live_server.url
    wakeup.close()
    database.close_pools()


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker that runs beside the test."""
    running = Worker()
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running
    running.stop()
    thread.join(30)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_orders_of_every_kind_end_as_they_should_and_the_audit_finds_nothing(
    shop: str, worker: Worker
) -> None:
    code, report = demo("--url", shop, "--orders", "30", "--rate", "100", "--seed", "5")

    assert code == 0, report
    assert "all is well" in report
    planned, _ = plan(PRODUCTS, 30, seed=5)
    kinds = Counter(order.kind for order in planned)
    assert set(kinds) == set(ENDS)
    statuses = Counter(Order.objects.values_list("status", flat=True))
    assert sum(statuses.values()) == 30
    assert kinds["no stock"] + kinds["declined"] <= statuses["Cancelled"] <= 30
    assert Payment.objects.filter(status="Captured").count() == 30 - statuses["Cancelled"]


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_an_order_that_nobody_works_on_is_stuck(shop: str) -> None:
    code, report = demo("--url", shop, "--orders", "1", "--deadline", "0.5", "--no-audit")

    assert code == 1
    assert "1 orders did not end:" in report
    assert "(ordinary): Pending" in report


class Faulty(BaseHTTPRequestHandler):
    """Carries the first request out and breaks the connection, then does as it should."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.headers["Idempotency-Key"])
        if len(self.asked) == 1:
            self.close_connection = True
            return
        status, body = (503, b"{}") if len(self.asked) == 2 else (201, b'{"orderId": "one"}')
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def faulty() -> Iterator[str]:
    Faulty.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_request_without_an_answer_is_sent_again_with_the_same_key(faulty: str) -> None:
    with Client(faulty, patience=20) as client:
        answer = client.call("POST", "/api/orders", {"items": []}, key="key-1")
        client.call("POST", "/api/orders", {}, key="key-2")

    assert (answer.status, answer.body) == (201, {"orderId": "one"})
    assert Faulty.asked == ["key-1", "key-1", "key-1", "key-2"]
    assert client.retries == 2


def test_a_shop_that_is_away_for_too_long_is_an_error() -> None:
    nobody = "http://127.0.0.1:9"

    with Client(nobody, patience=0.2) as client, pytest.raises(Unreachable, match=f"GET {nobody}/"):
        client.call("GET", "/api/products")


def test_the_same_seed_makes_the_same_orders() -> None:
    first, again, other = (plan(PRODUCTS, 50, seed)[0] for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert {len(order.body["items"]) for order in first} == {1, 2, 3, 4}


def test_enough_units_arrive_for_all_orders_but_those_that_ask_for_too_much() -> None:
    planned, arriving = plan(PRODUCTS, 200, seed=3)

    wanted: Counter[str] = Counter()
    for order in planned:
        for line in order.body["items"]:
            if order.kind != "no stock":
                wanted[line["productId"]] += line["quantity"]
    for product in PRODUCTS:
        assert wanted[product.id] < product.available + arriving[product.id]
    greedy = [order.body["items"] for order in planned if order.kind == "no stock"]
    assert greedy
    for (line,) in greedy:
        assert line["quantity"] == 10 + arriving[line["productId"]] + 1


def test_a_percentile_is_a_value_that_occurred() -> None:
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([4.0, 1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
