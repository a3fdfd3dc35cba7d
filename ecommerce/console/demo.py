"""A crowd of customers: orders of every kind, placed over HTTP and watched to their end.

`plan` makes the same orders from the same seed. `Demo` places them at a steady rate, cancels some,
and waits for each to end. The shop may be killed and started again meanwhile.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from .client import Client, Unreachable

Kind = Literal["ordinary", "declined", "answer lost", "no stock", "cancelled", "flaky address"]

MIX: dict[Kind, int] = {
    "ordinary": 55,
    "declined": 10,
    "answer lost": 10,
    "no stock": 5,
    "cancelled": 10,
    "flaky address": 10,
}
"""How many of a hundred orders are of each kind."""
FULFILLED, CANCELLED = ("Shipped", "Delivered"), ("Cancelled",)
ENDS: dict[Kind, tuple[str, ...]] = {
    "ordinary": FULFILLED,
    "declined": CANCELLED,
    "answer lost": FULFILLED,
    "no stock": CANCELLED,
    "cancelled": (*FULFILLED, *CANCELLED),
    "flaky address": FULFILLED,
}
"""How orders of a kind may end; a cancellation may come too late."""
ENDED = {*FULFILLED, *CANCELLED}
CARDS = {"declined": "card_declined", "answer lost": "card_answer_lost"}
KNOWN_CUSTOMERS = ("cust-123", "cust-124", "cust-125")
MOST_OF_A_LINE = 1000
MOST_LINES = 100
SPARE = 20
"""Units of each product that are left over when all orders are fulfilled."""
THREADS = 8
LOOK_SECONDS = 0.2


class Product(dict[str, Any]):
    """A product as the API gives it."""

    @property
    def id(self) -> str:
        return str(self["productId"])

    @property
    def available(self) -> int:
        return int(self["available"])

    @property
    def cents(self) -> int:
        return int(Decimal(str(self["price"])) * 100)


@dataclass
class Order:
    """An order to be placed, and what became of it. Times in seconds."""

    number: int
    kind: Kind
    body: dict[str, Any]
    cancel_after: float | None = None
    order_id: str = ""
    status: str = "not placed"
    refusal: str = ""
    took: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def is_as_meant(self) -> bool:
        return self.status in ENDS[self.kind]


def plan(products: Sequence[Product], orders: int, seed: int) -> tuple[list[Order], dict[str, int]]:
    """The orders of a seed, and how many units of each product must arrive for them."""
    chance = random.Random(seed)  # noqa: S311  chance, not secrecy
    kinds = chance.choices(list(MIX), weights=list(MIX.values()), k=orders)
    planned = [_order(number, kind, products, chance) for number, kind in enumerate(kinds, 1)]
    wanted = {product.id: SPARE for product in products}
    for order in planned:
        for line in order.body["items"]:
            wanted[line["productId"]] += line["quantity"]
    arriving = {p.id: wanted[p.id] - p.available for p in products if wanted[p.id] > p.available}
    _ask_too_much(planned, {p.id: p.available + arriving.get(p.id, 0) for p in products})
    return planned, arriving


def _order(number: int, kind: Kind, products: Sequence[Product], chance: random.Random) -> Order:
    chosen = chance.sample(products, k=min(chance.choice([1, 1, 2, 3, 4]), len(products)))
    quantities = {product.id: chance.choice([1, 1, 1, 2, 3, 5]) for product in chosen}
    # The simulated gateway declines amounts that end in 13 cents.
    while sum(product.cents * quantities[product.id] for product in chosen) % 100 == 13:
        quantities[chosen[0].id] += 1
    guest = f"guest-{chance.randrange(10**6):06}"
    body = {
        "customerId": chance.choice([guest, chance.choice(KNOWN_CUSTOMERS)]),
        "items": [{"productId": name, "quantity": n} for name, n in quantities.items()],
        "paymentMethod": CARDS.get(kind, "card_approved"),
        "shippingAddress": {
            "street": f"{chance.randrange(1, 200)} Harbor Street",
            "city": "Flaky" if kind == "flaky address" else "Springfield",
            "state": "IL",
            "zipCode": "62701",
            "country": "US",
        },
    }
    cancel_after = chance.uniform(0, 0.2) if kind == "cancelled" else None
    return Order(number, kind, body, cancel_after)


def _ask_too_much(planned: Sequence[Order], available: dict[str, int]) -> None:
    """Have the orders of kind `no stock` want one unit more than there can ever be."""
    scarcest = min(available, key=lambda product_id: (available[product_id], product_id))
    whole, rest = divmod(available[scarcest] + 1, MOST_OF_A_LINE)
    quantities = [MOST_OF_A_LINE] * whole + [rest] * bool(rest)
    for order in planned:
        if order.kind == "no stock" and len(quantities) <= MOST_LINES:
            order.body["items"] = [{"productId": scarcest, "quantity": n} for n in quantities]
        elif order.kind == "no stock":
            order.kind = "ordinary"


@dataclass
class Demo:
    """One run. `changed` is called whenever an order was placed or has ended."""

    client: Client
    rate: float
    deadline: float
    changed: Callable[[], None] = lambda: None
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    repeated: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def products(self) -> list[Product]:
        """All products that are for sale."""
        found: list[Product] = []
        cursor = ""
        while True:
            answer = self.client.call("GET", f"/api/products?limit=100{cursor}")
            found += [Product(item) for item in answer.body["items"]]
            if not answer.body["next"]:
                return sorted(found, key=lambda product: product.id)
            cursor = f"&cursor={answer.body['next']}"

    def restock(self, arriving: dict[str, int]) -> None:
        """Have units arrive. Raises Unreachable, also when the shop refuses them."""
        for product_id, quantity in arriving.items():
            path = f"/api/inventory/{product_id}/restock"
            key = f"demo-{self.run}-{product_id}"
            answer = self.client.call("POST", path, {"quantity": quantity}, key=key)
            if answer.status != 200:
                raise Unreachable(f"{path}: status {answer.status} {answer.code}")

    def place(self, orders: Sequence[Order]) -> None:
        """Place all orders, so many a second, unless it is stopping."""
        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            waiting = []
            for index, order in enumerate(orders):
                if self.stopping.wait(max(began + index / self.rate - time.monotonic(), 0)):
                    break
                waiting.append(pool.submit(self._place, order))
            for each in waiting:
                each.result()

    def watch(self, orders: Sequence[Order]) -> list[Order]:
        """Look at the orders until each has ended; return those that have not, at the deadline."""
        until = time.monotonic() + self.deadline
        open_orders = [order for order in orders if order.order_id]
        with ThreadPoolExecutor(THREADS) as pool:
            while open_orders and time.monotonic() < until:
                began = time.monotonic()
                list(pool.map(self._look, open_orders))
                open_orders = [order for order in open_orders if not order.has_ended]
                time.sleep(max(began + LOOK_SECONDS - time.monotonic(), 0))
        return [order for order in orders if not order.has_ended]

    def _place(self, order: Order) -> None:
        key = f"demo-{self.run}-{order.number}"
        try:
            answer = self.client.call("POST", "/api/orders", order.body, key=key)
            if answer.status != 201:
                order.status, order.refusal = "refused", f"status {answer.status} {answer.code}"
            else:
                order.order_id, order.status = answer.body["orderId"], answer.body["status"]
                if order.cancel_after is not None:
                    time.sleep(order.cancel_after)
                    path = f"/api/orders/{order.order_id}/cancel"
                    self.client.call("POST", path, key=f"{key}-cancel")
            with self._lock:
                self.repeated += answer.repeated
        except Unreachable as error:
            order.refusal = str(error)
        self.changed()

    def _look(self, order: Order) -> None:
        try:
            answer = self.client.call("GET", f"/api/orders/{order.order_id}")
            if answer.status != 200:
                order.refusal = f"status {answer.status} {answer.code}"
                return
            order.status = answer.body["status"]
            if order.has_ended:
                order.took = self._time_to_end(order)
                self.changed()
        except Unreachable as error:
            order.refusal = str(error)

    def _time_to_end(self, order: Order) -> float | None:
        """By the shop's own clock, from the command to the event that ended it."""
        answer = self.client.call("GET", f"/api/orders/{order.order_id}/history")
        if answer.status != 200:
            return None
        items = answer.body["items"]
        times = {item["event"]: datetime.fromisoformat(item["recordedAt"]) for item in items}
        ended = [times[name] for name in ("OrderShipped", "OrderCancelled") if name in times]
        return (min(ended) - times["OrderCreated"]).total_seconds() if ended else None


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the values does not exceed; 0.99 of 100 is the 99th."""
    ordered = sorted(values)
    return ordered[max(-(-int(share * 1000) * len(ordered) // 1000), 1) - 1]


def by_kind(orders: Sequence[Order]) -> Iterator[tuple[Kind, list[Order]]]:
    """The orders of each kind that there are."""
    for kind in MIX:
        found = [order for order in orders if order.kind == kind]
        if found:
            yield kind, found
