"""Every page, in a shop with a hundred thousand orders.

The orders are copies of real ones (logs, delivery logs, aggregates and read models), the database is
as autovacuum leaves it, and no worker runs. Each page is asked for by an operator, several times; the
time is that of the whole request in Django, without the web server and the network. The first answer
of a process, which compiles templates and plans, does not count.
"""

from __future__ import annotations

import statistics
import time

from django.test import Client

from ecommerce.identity.models import User
from orders.models import Order

from . import growth, history, runs, workload
from .options import Failed, Options
from .report import Table
from .server import Server

ASKED = 10
PAGES = (
    "/", "/shop/", "/shop/?q=scarf", "/shop/products/prod-456", "/shop/cart", "/shop/orders/{order}",
    "/console/", "/console/orders", "/console/orders/{order}", "/console/messages?q={order}",
    "/console/workers", "/console/timers", "/console/letters", "/console/read-models",
    "/console/mailbox", "/console/auditor", "/analytics/", "/analytics/?range=90d",
    "/admin/", "/admin/orders/order/", "/admin/customers/ordersummary/",
    "/admin/notifications/notification/", "/admin/orders/orderslogentry/", "/admin/orders/ordersdelivery/",
)  # fmt: skip


def measure(server: Server, options: Options) -> list[Table]:
    """The median and the longest of some requests of each page."""
    base, orders = options.sized((2000, 100_000), (20, 40))
    growth.begin(server, base, options.workers)
    history.multiply(server, 1, orders // base)
    runs.vacuum(server)
    newest = Order.objects.filter(tenant=workload.TENANT).latest("created_at").order_id
    client = Client(HTTP_HOST="localhost")
    client.force_login(User.objects.create_superuser("benchmark", password=None))
    rows = []
    for page in PAGES:
        times = [_ask(client, page.format(order=newest)) for _ in range(ASKED + 1)][1:]
        rows.append((f"`{page}`", f"{statistics.median(times):.0f}", f"{max(times):.0f}"))
    runs.leave()
    return [Table("Pages", ("", "median ms", "longest ms"), rows)]


def _ask(client: Client, path: str) -> float:
    """Milliseconds. Raises Failed for anything but the page."""
    started = time.perf_counter()
    answer = client.get(path, follow=path.startswith("/console/messages"))
    spent = time.perf_counter() - started
    if answer.status_code != 200:
        raise Failed(f"{path} answered {answer.status_code}")
    return spent * 1000
