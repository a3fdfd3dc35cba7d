"""`manage.py trace`: what happened to an order, through all services."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import IO, Any, cast

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ecommerce.messaging.trace import Hop, Node, trace, unfinished

STYLES = {"command": "bold cyan", "event": "bold green", "effect": "bold magenta"}
WIDEST = 300
OUTCOMES = {
    "done": "dim",
    "failed": "yellow",
    "parked": "bold yellow",
    "dead": "bold red",
    "waiting": "bold blue",
    "pending": "bold blue",
}


class Command(BaseCommand):
    help = "Show an order's messages as a tree of causes, with every delivery of each."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("order", help="an order's id; or a stream, such as product/prod-456")
        parser.add_argument(
            "--tenant", default=settings.DEFAULT_TENANT, help="the shop it belongs to"
        )
        parser.add_argument("--json", action="store_true", help="machine-readable")

    def handle(self, *args: Any, order: str, tenant: str, json: bool, **options: Any) -> None:
        stream = order if "/" in order else f"order/{order}"
        trees = trace(tenant, stream)
        if not trees:
            raise CommandError(f"There is no {stream.replace('/', ' ', 1)} in {tenant}.")
        if json:
            text = msgspec.json.format(msgspec.json.encode(trees)).decode()
            self.stdout.write(text)
            return
        out = cast(IO[str], self.stdout)
        console = Console(file=out, highlight=False, width=None if out.isatty() else WIDEST)
        began = trees[0].at
        for root in trees:
            console.print(_tree(root, began))
        left = unfinished(trees)
        if left:
            console.print(Text(f"{len(left)} deliveries are not over.", "bold"))


def _tree(node: Node, began: datetime, parent: Tree | None = None) -> Tree:
    label = _label(node, began)
    tree = parent.add(label) if parent else Tree(label)
    for hop in node.hops:
        tree.add(_hop(hop))
    for child in node.children:
        _tree(child, began, tree)
    return tree


def _label(node: Node, began: datetime) -> Text:
    label = Text(node.name, STYLES[node.kind])
    label.append(f"  +{(node.at - began).total_seconds() * 1000:.0f} ms", "default")
    if node.actor and not node.cause_id:
        label.append(f"  by {node.actor}", "default")
    label.append(f"  {node.stream}", "dim")
    return label


def _hop(hop: Hop) -> Text:
    text = Text("→ ", OUTCOMES[hop.outcome])
    text.append(hop.handler or "to be sent")
    if hop.outcome in ("done", "failed"):
        text.append(f"  waited {hop.waited:.1f} ms, ran {hop.ran:.2f} ms")
    if hop.outcome != "done":
        text.append(f"  {hop.outcome}")
    if hop.at and hop.outcome in ("parked", "pending"):
        text.append(f" until {hop.at:%H:%M:%S}")
    if hop.attempt > 1 or hop.outcome not in ("done", "waiting"):
        text.append(f"  attempt {hop.attempt}")
    if hop.policy:
        text.append(f"  under {hop.policy}")
    if hop.worker:
        text.append(f"  {hop.worker}")
    if hop.error:
        text.append(f"  {hop.error.strip().splitlines()[-1]}")
    return text
