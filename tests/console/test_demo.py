"""What the demo is made of: planned orders, and a client that does not give up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from ecommerce.console.client import Client, Unreachable
from ecommerce.console.demo import Product, percentile, plan

PRODUCTS = [
    Product(productId=f"prod-{number}", price=19.99 + number, available=10) for number in range(5)
]


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
