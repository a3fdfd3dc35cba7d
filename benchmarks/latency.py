"""From POST to Shipped in the customer's read model.

Orders are placed over HTTP at a steady rate, whether or not the platform keeps up, in the shop
without a backlog: a web server and a worker, as `manage.py serve` runs them; a second worker would
have no core of its own. A time goes from when the order was due to be placed until a reader of
`OrderSummary` sees it as Shipped; the reader looks every 5 ms. The first seconds do not count. The
simulated providers answer at once.
"""

from __future__ import annotations

from . import workload
from .options import Options
from .report import Table, percentile, spread
from .runs import SHOP, Meter, clone, leave, wait_until_done
from .server import Server
from .serving import serving
from .steady import Buyer, buy
from .workers import working

RATES = (5, 20, 100)
COLUMNS = (
    "orders/s", "p50 ms", "p99 ms", "longest ms",
    "CPU ms/order: web", "workers", "PostgreSQL",
)  # fmt: skip


def measure(server: Server, options: Options) -> list[Table]:
    """Each rate, in every round."""
    made: dict[int, list[tuple[float, ...]]] = {rate: [] for rate in RATES}
    for _ in range(options.rounds):
        for rate in options.sized(RATES, (20,)):
            made[rate].append(_run(server, rate, options))
    rows = [
        (
            str(rate),
            *(
                spread(values, 0 if i < 3 else 2)
                for i, values in enumerate(zip(*found, strict=True))
            ),
        )
        for rate, found in made.items()
        if found
    ]
    return [Table("Latency at a steady rate", COLUMNS, rows)]


def _run(server: Server, rate: int, options: Options) -> tuple[float, ...]:
    clone(server, SHOP)
    warm = options.sized(3.0, 0.0)
    expected = workload.mix(int(rate * (options.sized(30.0, 1.0) + warm)))
    with serving() as site, working(server.url, 1) as processes:
        web, worker = Meter(server, site.processes), Meter(server, processes)
        (seen,) = buy(server, site.port, [Buyer(workload.TENANT, expected.orders, rate)])
        _, own, servers = worker.used()
        _, webs, _ = web.used()
        wait_until_done(expected)
    workload.check()
    leave()
    times = seen.times(warm)
    costs = [used / len(expected.orders) * 1000 for used in (webs, own, servers)]
    return (percentile(times, 50), percentile(times, 99), max(times), *costs)
