"""HTTP, beside a bare handler.

The web server is as `manage.py serve` runs it in production; the bare handler runs under the same
server with the same threads, and does the same reads and writes as plain prepared statements,
without a framework, an API schema, permissions, a bus or a decision. A closed loop of clients in one
process asks; it runs on the same machine. No worker runs, so what the orders cause waits. After each
run there must be as many orders as answers, and after the last the placed orders must pass the audit.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Literal

from customers.models import OrderSummary
from ecommerce.messaging.worker import Worker
from orders.models import Order

from . import runs, workload
from .clients import Answers, ask, request
from .options import Failed, Options
from .report import Table, percentile, spread
from .server import Server
from .serving import serving
from .steady import body

STOCKED = "bench_shipped"
CLIENTS = (1, 16, 64)
PAGES = ("/api/docs", "/admin/login/", "/alive")
COLUMNS = ("", "clients", "requests/s", "of the bare", "p50 ms", "p99 ms", "bare/s", "bare p99 ms")

Kind = Literal["platform", "bare"]
Requests = Callable[[], Iterator[bytes]]


def measure(server: Server, options: Options) -> list[Table]:
    """Each kind of request, with each number of clients, in every round."""
    expected = workload.mix(options.sized(500, 20))
    _ship(server, expected)
    posts = [request("POST", "/api/orders", body(order)) for order in expected.orders]
    gets = [request("GET", f"/api/orders/{order.order_id}") for order in expected.orders]
    asked: dict[str, tuple[list[bytes], int]] = {
        "POST order": (posts, 201),
        "GET order": (gets, 200),
        "GET list of 20": ([request("GET", "/api/orders")], 200),
    }
    rows = []
    for title, (requests, status) in asked.items():
        for clients in options.sized(CLIENTS, (4,)):
            pairs = [
                tuple(
                    _run(server, kind, requests, status, clients, options)
                    for kind in ("platform", "bare")
                )
                for _ in range(options.rounds)
            ]
            rows.append(_row(title, clients, pairs))
    return [
        Table("Requests", COLUMNS, rows, [_drained(server, posts, options)]),
        Table("Pages", ("", "pages/s", "p50 ms", "p99 ms"), _pages(server, options)),
    ]


def _ship(server: Server, expected: workload.Mix) -> None:
    """Make a database in which these orders are shipped, and one was placed just now."""
    runs.place(server, expected)
    runs.clone(server, runs.PLACED)
    Worker().drain(runs.LONGEST)
    runs.wait_until_done(expected)
    workload.place(workload.mix(1, seed=1).orders)
    runs.keep(server, STOCKED)


def _run(
    server: Server, kind: Kind, requests: list[bytes], status: int, clients: int, options: Options
) -> Answers:
    runs.clone(server, STOCKED)
    before = Order.objects.count()
    asked = cycle(requests)
    with serving(kind) as site:
        warmed = ask(site.port, asked, status, clients, options.sized(2.0, 0.2))
        answers = ask(site.port, asked, status, clients, options.sized(10.0, 0.5))
    placed = Order.objects.count() - before
    if placed != (len(warmed.times) + len(answers.times) if status == 201 else 0):
        raise Failed(f"{kind}: {placed} orders, {len(answers.times)} answers")
    return answers


def _row(title: str, clients: int, pairs: list[tuple[Answers, ...]]) -> tuple[str, ...]:
    platform, bare = zip(*pairs, strict=True)
    return (
        title,
        str(clients),
        spread(each.rate for each in platform),
        spread((p.rate / b.rate for p, b in pairs), 2),
        _middle(platform, 50),
        _middle(platform, 99),
        spread(each.rate for each in bare),
        _middle(bare, 99),
    )


def _middle(runs_: tuple[Answers, ...], percent: float) -> str:
    return f"{statistics.median(percentile(each.times, percent) for each in runs_):.1f}"


def _drained(server: Server, posts: list[bytes], options: Options) -> str:
    """Place some orders over HTTP and have them carried out: the audit must be content."""
    runs.clone(server, STOCKED)
    with serving() as site:
        placed = ask(site.port, cycle(posts), 201, 4, options.sized(1.0, 0.2))
    Worker().drain(runs.LONGEST)
    shipped = OrderSummary.objects.filter(status="Shipped").count() - len(posts) - 1
    if shipped != len(placed.times):
        raise Failed(f"{len(placed.times)} orders were answered, {shipped} shipped")
    workload.check()
    runs.leave()
    return f"{len(placed.times)} orders of a run of their own were shipped and audited."


def _pages(server: Server, options: Options) -> list[tuple[str, ...]]:
    runs.clone(server, STOCKED)
    rows: list[tuple[str, ...]] = []
    with serving() as site:
        for page in PAGES:
            asked = cycle([request("GET", page)])
            found = [
                ask(site.port, asked, 200, 16, options.sized(5.0, 0.3))
                for _ in range(options.rounds)
            ]
            p50, p99 = _middle(tuple(found), 50), _middle(tuple(found), 99)
            rows.append((f"`{page}`", spread(each.rate for each in found), p50, p99))
    return rows
