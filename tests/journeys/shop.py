"""The shop as a customer's program sees it: HTTP, and patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
Document = dict[str, Any]

PATIENCE = 20.0
"""Seconds after which something that does not come true fails its test."""
ADDRESS = {
    "street": "123 Main St",
    "city": "Springfield",
    "state": "IL",
    "zipCode": "62701",
    "country": "US",
}
SCARF, JACKET = "prod-456", "prod-789"


def until(condition: Callable[[], T], *, seconds: float = PATIENCE) -> T:
    """Poll until something is true, and return it; fail with what was found last."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"what the test waits for did not happen; it is {found!r}")
        time.sleep(0.01)
    return found


class Shop:
    """A client of the shop's HTTP API."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def place(
        self,
        items: Mapping[str, int] | None = None,
        *,
        customer: str = "cust-123",
        card: str = "card_approved",
        address: Mapping[str, str] | None = ADDRESS,
        key: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """POST an order; without items, of two scarves."""
        lines = [
            {"productId": product, "quantity": quantity}
            for product, quantity in (items or {SCARF: 2}).items()
        ]
        body = {"customerId": customer, "items": lines, "paymentMethod": card, **more}
        if address is not None:
            body["shippingAddress"] = dict(address)
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post("/api/orders", json=body, headers=headers)

    def order(self, items: Mapping[str, int] | None = None, **options: Any) -> str:
        """Place an order that the shop accepts; return its id."""
        answer = self.place(items, **options)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["orderId"])

    def cancel(self, order_id: str) -> httpx.Response:
        return self.http.post(f"/api/orders/{order_id}/cancel")

    def get(self, path: str, **params: Any) -> Document:
        """GET a document that exists."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        document: Document = answer.json()
        return document

    def summary(self, order_id: str) -> Document:
        return self.get(f"/api/orders/{order_id}")

    def status(self, order_id: str) -> str:
        return str(self.summary(order_id)["status"])

    def wait_for(self, order_id: str, status: str, *, seconds: float = PATIENCE) -> Document:
        """The order's summary, once it has this status."""
        deadline = time.monotonic() + seconds
        while (summary := self.summary(order_id))["status"] != status:
            if time.monotonic() > deadline:
                raise AssertionError(f"the order is not {status}; it is {summary}")
            time.sleep(0.01)
        return summary

    def events(self, order_id: str) -> list[str]:
        """What happened to an order, as orders has it."""
        history = self.get(f"/api/orders/{order_id}/history")
        return [entry["event"] for entry in history["items"]]

    def stock(self, product_id: str = SCARF) -> dict[str, int]:
        """A product's units, as inventory shows them to staff."""
        level = self.get(f"/api/inventory/{product_id}")
        return {name: level[name] for name in ("quantity", "reserved", "available")}
