"""`manage.py demo`: place orders of every kind, wait for each to end, and audit the platform."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ecommerce.audit import audit
from ecommerce.console.client import Client, Unreachable
from ecommerce.console.demo import Demo, Order, by_kind, percentile, plan
from ecommerce.console.reports import print_findings

SHOWN = 10


class Command(BaseCommand):
    help = (
        "Place orders of every kind against a running shop, wait for each to end, and audit the "
        "platform; exit code 1 when an order is stuck or the audit fails."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--url", default="http://127.0.0.1:8000", help="where the shop is")
        add("--orders", type=int, default=100, help="how many orders (100)")
        add("--rate", type=float, default=20.0, help="orders a second (20)")
        add("--seed", type=int, default=1, help="the same seed makes the same orders (1)")
        add("--deadline", type=float, default=120.0, help="seconds for all orders to end (120)")
        add("--patience", type=float, default=120.0, help="seconds to wait for a shop that is away")
        add("--tenant", default=settings.DEFAULT_TENANT, help="the shop to order from")
        add("--token", default="", help="an API token, where the shop is not open to all")
        add("--no-audit", action="store_true", help="only place orders: for a shop elsewhere")

    def handle(self, *args: Any, orders: int, seed: int, **options: Any) -> None:
        if orders < 1 or options["rate"] <= 0:
            raise CommandError("Use at least one order, and a rate above 0.")
        self.console = Console(file=cast(IO[str], self.stdout), highlight=False)
        headers = {"X-Tenant": options["tenant"]}
        if options["token"]:
            headers = {"Authorization": f"Bearer {options['token']}"}
        url, patience = options["url"].rstrip("/"), options["patience"]
        self.console.print(f"Orders go to {url}, which has {patience:g} s to answer.")
        with Client(url, patience, headers) as client:
            demo = Demo(client, options["rate"], options["deadline"])
            planned = self._prepare(demo, orders, seed)
            stuck = self._run(demo, planned)
            self._report(demo, planned, stuck)
        wrong = False if options["no_audit"] else self._audit()
        if stuck or wrong:
            sys.exit(1)

    def _prepare(self, demo: Demo, orders: int, seed: int) -> list[Order]:
        """Plan the orders and have their goods arrive."""
        try:
            products = demo.products()
            if not products:
                raise CommandError("The shop sells nothing. `manage.py seed` adds some products.")
            planned, arriving = plan(products, orders, seed)
            demo.restock(arriving)
        except Unreachable as error:
            raise CommandError(f"The shop does not answer: {error}") from error
        return planned

    def _run(self, demo: Demo, planned: Sequence[Order]) -> list[Order]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as progress:
            placed = progress.add_task("placed", total=len(planned))
            ended = progress.add_task("ended", total=len(planned))

            def show() -> None:
                progress.update(placed, completed=sum(o.status != "not placed" for o in planned))
                progress.update(ended, completed=sum(order.has_ended for order in planned))

            demo.changed = show
            demo.place(planned)
            return demo.watch(planned)

    def _report(self, demo: Demo, planned: Sequence[Order], stuck: Sequence[Order]) -> None:
        table = Table("Orders", "", "Ended", "p50", "p99", box=None, pad_edge=False)
        for kind, found in by_kind(planned):
            ends = Counter(order.status for order in found)
            text = ", ".join(f"{number} {status}" for status, number in sorted(ends.items()))
            table.add_row(kind, str(len(found)), text, *_times(found))
        table.add_row("all", str(len(planned)), "", *_times(planned), style="bold")
        self.console.print(table)
        self.console.print(
            f"{demo.client.retries} requests were sent again; {demo.repeated} of the answers to "
            "orders had been given before."
        )
        unmeant = [order for order in planned if order.has_ended and not order.is_as_meant]
        self._list("ended otherwise than meant", unmeant, "yellow")
        self._list("did not end", stuck, "bold red")

    def _list(self, what: str, orders: Sequence[Order], style: str) -> None:
        if not orders:
            return
        self.console.print(Text(f"{len(orders)} orders {what}:", style))
        for order in orders[:SHOWN]:
            name = order.order_id or f"number {order.number}"
            self.console.print(Text(f"  {name} ({order.kind}): {order.status} {order.refusal}"))
        if len(orders) > SHOWN:
            self.console.print(f"  and {len(orders) - SHOWN} more")

    def _audit(self) -> bool:
        findings = audit(patience=15.0)
        wrong = [finding for finding in findings if not finding.ok]
        if wrong:
            print_findings(self.console, wrong)
        else:
            self.console.print(f"The audit asked {len(findings)} questions: all is well.")
        return bool(wrong)


def _times(orders: Sequence[Order]) -> tuple[str, str]:
    took = [order.took for order in orders if order.took is not None]
    if not took:
        return "", ""
    return f"{percentile(took, 0.5):.2f} s", f"{percentile(took, 0.99):.2f} s"
