"""Hot spots: one product, one customer, one loud shop.

Throughput of two workers over a backlog in which all orders are for one product, or of one customer,
beside one that is spread; one line an order. Then latency, with a web server and a worker: a hundred
shops with an order every five seconds each, without and with one among them that has fifty times as
many; the times are those of the ninety-nine others. The audit is asked after each run.
"""

from __future__ import annotations

from django.core.management import call_command

from customers.models import Customer
from ecommerce.identity import tenants
from ecommerce.identity.models import Tenant
from inventory.models import Product
from orders.contracts import CreateOrder, RequestedLine

from . import runs, workload
from .options import Options
from .report import Table, percentile, spread
from .runs import SHOP, Run, clone, keep, leave
from .server import Server
from .serving import serving
from .steady import Buyer, buy
from .workers import working

TENANTS = "bench_tenants"
EVERY = 5.0
"""Seconds between two orders of a quiet shop."""
LOUD = 50
"""How many times as many the loud one has."""


def measure(server: Server, options: Options) -> list[Table]:
    """Backlogs, then shops."""
    return [_backlogs(server, options), _shops(server, options)]


def _backlogs(server: Server, options: Options) -> Table:
    count = options.sized(2000, 20)
    mixes = {
        "spread": workload.mix(count, lines=1),
        "one product": workload.mix(count, lines=1, products=1),
        "one customer": workload.mix(count, lines=1, customers=1),
    }
    for name, expected in mixes.items():
        runs.place(server, expected, _database(name))
    made: dict[str, list[Run]] = {name: [] for name in mixes}
    for _ in range(options.rounds):
        for name, expected in mixes.items():
            made[name].append(
                runs.platform(server, options.workers, expected, name=_database(name))
            )
    rows = [
        (
            name,
            spread(run.rate for run in found),
            spread((a.rate / b.rate for a, b in zip(found, made["spread"], strict=True)), 2),
            spread((run.cpu_ms for run in found), 2),
        )
        for name, found in made.items()
    ]
    return Table("Backlogs", ("", "sagas/s", "of spread", "CPU ms/order"), rows)


def _database(name: str) -> str:
    return f"bench_{name.replace(' ', '_')}"


def _shops(server: Server, options: Options) -> Table:
    shops = [f"shop-{number}" for number in range(options.sized(100, 3))]
    _open(server, shops)
    made: dict[str, list[list[float]]] = {"without": [], "with": []}
    for _ in range(options.rounds):
        made["without"].append(_others(server, shops, 1, options))
        made["with"].append(_others(server, shops, options.sized(LOUD, 5), options))
    rows = [
        (
            f"{name} the loud shop",
            spread(percentile(times, 50) for times in found),
            spread(percentile(times, 99) for times in found),
        )
        for name, found in made.items()
    ]
    return Table(f"{len(shops)} shops, latency of the quiet ones", ("", "p50 ms", "p99 ms"), rows)


def _open(server: Server, shops: list[str]) -> None:
    """Keep a database with so many shops, each with the catalogue, ample stock and a customer."""
    clone(server, SHOP)
    Tenant.objects.bulk_create(Tenant(slug=shop, name=shop) for shop in shops)
    tenants.forget()
    for shop in shops:
        call_command("seed", tenant=shop, verbosity=0)
    workload.restock(shops)
    keep(server, TENANTS)


def _others(server: Server, shops: list[str], loud: int, options: Options) -> list[float]:
    """Milliseconds of the quiet shops' orders, while the first has so many times as many."""
    clone(server, TENANTS)
    seconds = options.sized(30.0, EVERY)
    wait = EVERY / len(shops)
    buyers = [
        _buyer(shop, number * wait, times, seconds)
        for number, (shop, times) in enumerate(
            (shop, loud if shop == shops[0] else 1) for shop in shops
        )
    ]
    with serving() as site, working(server.url, 1):
        seen = buy(server, site.port, buyers)
        runs.wait_until_quiet()
    workload.check()
    leave()
    return [time for each in seen[1:] for time in each.times()]


def _buyer(shop: str, wait: float, times: int, seconds: float) -> Buyer:
    product = Product.objects.filter(tenant=shop).order_by("product_id").first()
    customer = Customer.objects.filter(tenant=shop).first()
    assert product is not None
    assert customer is not None
    order = CreateOrder(
        order_id="",
        customer_id=customer.customer_id,
        lines=(RequestedLine(product.product_id, 1),),
        shipping_address=workload.address(1),
    )
    return Buyer(shop, [order] * int(seconds / EVERY * times), times / EVERY, wait)
