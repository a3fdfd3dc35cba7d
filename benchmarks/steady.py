"""Orders at a steady rate over HTTP, and when each was seen as shipped (or cancelled)."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import msgspec
import psycopg

from ecommerce.embedded.management.commands.serve import HOST
from orders.contracts import CreateOrder

from .options import Failed
from .server import Server

WATCH_SECONDS = 0.005
LONGEST = 300.0
PLACERS = 8
SHIPPED = """
    SELECT order_id FROM customers_ordersummary
    WHERE order_id = ANY(%b::text[]) AND status IN ('Shipped', 'Delivered', 'Cancelled')"""


@dataclass(frozen=True)
class Buyer:
    """Orders of one tenant, so many a second, the first after `wait` seconds."""

    tenant: str
    orders: Sequence[CreateOrder]
    rate: float
    wait: float = 0.0


@dataclass
class Seen:
    """For each order of a buyer when it was due to be placed, and when it was seen as Shipped."""

    due: dict[str, float] = field(default_factory=dict)
    shipped: dict[str, float] = field(default_factory=dict)
    failed: list[BaseException] = field(default_factory=list)

    def times(self, after: float = 0.0) -> list[float]:
        """Milliseconds from one to the other, of those due later than that after the first."""
        begin = min(self.due.values()) + after
        return [(self.shipped[o] - at) * 1000 for o, at in self.due.items() if at >= begin]


def body(order: CreateOrder) -> bytes:
    """The request that places an order like this one."""
    address = order.shipping_address
    assert address is not None
    request = {
        "customerId": order.customer_id,
        "items": [
            {"productId": line.product_id, "quantity": line.quantity} for line in order.lines
        ],
        "shippingAddress": {
            "street": address.street,
            "city": address.city,
            "state": address.state,
            "zipCode": address.zip_code,
            "country": address.country,
        },
        "paymentMethod": order.payment_method,
    }
    return msgspec.json.encode(request)


def buy(server: Server, port: int, buyers: Sequence[Buyer]) -> list[Seen]:
    """Have all buyers place their orders, whether or not the platform keeps up, and watch.

    A time is exact to WATCH_SECONDS. Raises Failed when an order is refused or not shipped.
    """
    seen = [Seen() for _ in buyers]
    start = time.perf_counter() + 0.2
    placing = threading.Thread(target=_place_all, args=(port, buyers, seen, start))
    placing.start()
    expected = sum(len(buyer.orders) for buyer in buyers)
    until = time.monotonic() + LONGEST
    progress = 0
    with psycopg.connect(server.url, autocommit=True, prepare_threshold=0) as conn:
        while (found := sum(len(each.shipped) for each in seen)) < expected:
            if found > progress or placing.is_alive():
                progress, until = found, time.monotonic() + LONGEST
            for error in (error for each in seen for error in each.failed):
                raise error
            if time.monotonic() > until:
                raise Failed(f"{expected - found} of {expected} orders were not placed or shipped")
            _look(conn, seen)
            time.sleep(WATCH_SECONDS)
    placing.join()
    return seen


def _look(conn: psycopg.Connection[tuple[object, ...]], seen: list[Seen]) -> None:
    waiting = {o: each for each in seen for o in list(each.due) if o not in each.shipped}
    found = conn.execute(SHIPPED, [list(waiting)]).fetchall()
    at = time.perf_counter()
    for (order,) in found:
        waiting[str(order)].shipped[str(order)] = at


def _place_all(port: int, buyers: Sequence[Buyer], seen: list[Seen], start: float) -> None:
    plan = sorted(
        (start + buyer.wait + number / buyer.rate, which, number)
        for which, buyer in enumerate(buyers)
        for number in range(len(buyer.orders))
    )
    local = threading.local()
    with ThreadPoolExecutor(PLACERS) as pool:
        for at, which, number in plan:
            buyer = buyers[which]
            time.sleep(max(at - time.perf_counter(), 0))
            placed = pool.submit(_place, local, port, buyer.tenant, body(buyer.orders[number]))
            placed.add_done_callback(partial(_note, at, seen[which]))


def _note(at: float, seen: Seen, placed: Future[str]) -> None:
    if (error := placed.exception()) is not None:
        seen.failed.append(error)
    else:
        seen.due[placed.result()] = at


def _place(local: threading.local, port: int, tenant: str, request: bytes) -> str:
    """Place one order on this thread's connection; return its id."""
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection(HOST, port)
    headers = {"Content-Type": "application/json", "X-Tenant": tenant}
    local.connection.request("POST", "/api/orders", request, headers)
    answer = local.connection.getresponse()
    content = answer.read()
    if answer.status != 201:
        raise Failed(f"an order was answered with {answer.status}: {content[:200]!r}")
    return str(msgspec.json.decode(content)["orderId"])
