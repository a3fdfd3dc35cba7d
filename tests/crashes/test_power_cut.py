"""Everything is killed at once, PostgreSQL too, while customers place orders."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.crashes.conftest import Platform
from tests.journeys.shop import until

ORDERS = 60
CLIENTS = 6
PRODUCTS = ("prod-101", "prod-103", "prod-104", "prod-105", "prod-107", "prod-110")


class Customers:
    """Programs that place an order each, and try again with the same key until it is taken."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.taken: dict[str, str] = {}
        self._lock = threading.Lock()

    def place(self, number: int) -> None:
        body = {
            "customerId": f"cust-{number % 10}",
            "items": [{"productId": PRODUCTS[number % len(PRODUCTS)], "quantity": 1}],
        }
        key = f"order-{number}"
        give_up = time.monotonic() + 90
        with httpx.Client(timeout=5, trust_env=False) as http:
            while time.monotonic() < give_up:
                try:
                    answer = http.post(
                        f"{self.address}/orders", json=body, headers={"Idempotency-Key": key}
                    )
                except httpx.TransportError:
                    time.sleep(0.1)
                    continue
                if answer.status_code == 201:
                    with self._lock:
                        self.taken[key] = answer.json()["orderId"]
                    return
                assert answer.status_code in (409, 503), answer.text
                time.sleep(0.1)


def test_no_order_is_lost_or_doubled(platform: Platform) -> None:
    # given
    customers = Customers(platform.start_web())
    platform.start_worker()
    platform.start_worker()
    with ThreadPoolExecutor(CLIENTS) as clients:
        placing = [clients.submit(customers.place, number) for number in range(ORDERS)]
        # when the lights go out with a third of them placed
        until(lambda: len(customers.taken) >= ORDERS // 3, seconds=60)
        platform.kill_everything()
        before = dict(customers.taken)
        platform.server.start()
        customers.address = platform.start_web()
        platform.start_worker()
        platform.start_worker()
        restarted = time.monotonic()
        for each in placing:
            each.result()
    # then all are taken, and those that were are the same
    assert len(before) < ORDERS == len(customers.taken)
    assert before.items() <= customers.taken.items()
    assert platform.ask("SELECT count(*) FROM orders_order") == ORDERS
    # and all come to their end
    shipped = "SELECT count(*) FROM orders_order WHERE status IN ('Shipped', 'Delivered')"
    until(lambda: platform.ask(shipped) == ORDERS, seconds=60)
    assert time.monotonic() - restarted < 60
    platform.audit()
    charges = "SELECT count(*) FROM payments_simulatedcharge WHERE state = 'captured'"
    assert platform.ask(charges) == ORDERS
    assert platform.ask("SELECT count(*) FROM shipping_simulatedlabel") == ORDERS
    twice = "SELECT count(*) - count(DISTINCT key) FROM notifications_mail"
    assert platform.ask(twice) == 0
