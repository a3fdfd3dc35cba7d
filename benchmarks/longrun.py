"""A long run, in which everything falls due.

Two workers and the web server under a steady load. Stock is held for one minute only and the carrier
delivers after five seconds, so that deadlines, timers and questions to the carrier fall into the run;
one order in twenty is paid by a card that never answers, which only the deadline ends. Resident
memory is that of the largest worker and of all web processes together. Afterwards all orders must be
Delivered, or Cancelled where the card did not answer, with one dead letter each, for people to look
at; but for these the audit must find nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from customers.models import OrderSummary
from orders.contracts import CreateOrder

from . import runs, workload
from .options import Failed, Options
from .report import Table, percentile
from .server import Server, memory
from .serving import Site, serving
from .steady import Buyer, Seen, buy
from .workers import working

RATE = 40
SLOW = 20
"""One order in so many is paid by a card that never answers."""
GIVEN_UP = "payments: there are no dead letters"
"""What the audit says of a charge that was never answered: there must be one for each such card."""
SOON = {"RESERVATION_MINUTES": "1", "SIMULATED_DELIVERY_SECONDS": "5"}
COLUMNS = ("part of the run", "p50 ms", "p99 ms", "MiB worker", "MiB web")
PARTS = 4

Samples = list[tuple[float, float, float]]


def measure(server: Server, options: Options) -> list[Table]:
    """One run, in four parts."""
    seconds = 3600 if options.hour else options.sized(240, 4)
    runs.clone(server, runs.SHOP)
    expected = workload.mix(seconds * RATE)
    silent = [] if options.quick else expected.orders[::SLOW]
    paid = [order for n, order in enumerate(expected.orders) if options.quick or n % SLOW]
    share = len(paid) / len(expected.orders)
    buyers = [Buyer(workload.TENANT, paid, RATE * share)]
    if silent:
        orders = [msgspec.structs.replace(o, payment_method="card_timeout") for o in silent]
        buyers.append(Buyer(workload.TENANT, orders, RATE / SLOW))
    with (
        serving(environment=SOON) as site,
        working(server.url, options.workers, environment=SOON) as workers,
    ):
        with _sampled(workers, site) as samples:
            began = time.perf_counter()
            seen, *_ = buy(server, site.port, buyers)
        _wait(len(paid), silent)
        runs.wait_until_quiet([f"payments dead: {len(silent)}"] if silent else [])
    workload.check(but=GIVEN_UP if silent else "")
    runs.leave()
    rows = list(_rows(seen, samples, began, float(seconds)))
    note = f"{len(paid):,} orders were delivered and {len(silent):,} cancelled by their deadline."
    return [Table(f"{seconds} s at {RATE} orders a second", COLUMNS, rows, [note])]


@contextmanager
def _sampled(workers: Sequence[int], site: Site) -> Iterator[Samples]:
    """Look at the memory twice a second."""
    samples: Samples = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            worker = max(memory(process) for process in workers)
            web = sum(memory(process) for process in site.processes)
            samples.append((time.perf_counter(), worker, web))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield samples
    finally:
        done.set()
        looking.join()


def _wait(delivered: int, silent: Sequence[CreateOrder]) -> None:
    """Wait until every order has come to its end. Raises Failed."""
    until = time.monotonic() + runs.LONGEST
    while True:
        found = [OrderSummary.objects.filter(status=s).count() for s in ("Delivered", "Cancelled")]
        if found == [delivered, len(silent)]:
            return
        if time.monotonic() > until:
            raise Failed(f"{found} delivered and cancelled, not {[delivered, len(silent)]}")
        time.sleep(0.5)


def _rows(seen: Seen, samples: Samples, began: float, seconds: float) -> Iterator[tuple[str, ...]]:
    part = seconds / PARTS
    for number in range(PARTS):
        start, end = began + number * part, began + (number + 1) * part
        orders = [order for order, at in seen.due.items() if start <= at < end]
        times = [(seen.shipped[order] - seen.due[order]) * 1000 for order in orders]
        found = [sample for sample in samples if start <= sample[0] < end]
        yield (
            f"{number * part:.0f} to {(number + 1) * part:.0f} s",
            f"{percentile(times, 50):.0f}",
            f"{percentile(times, 99):.0f}",
            f"{max(worker for _, worker, _ in found):.0f}",
            f"{max(web for _, _, web in found):.0f}",
        )
