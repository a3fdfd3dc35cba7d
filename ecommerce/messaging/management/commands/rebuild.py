"""`manage.py rebuild`: make read models again from all events, while everything goes on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging import projections
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.replay import Difference, RebuildFailed

SHOWN = 5


class Command(BaseCommand):
    help = (
        "Make read models again from the events of all services and replace the rows that differ. "
        "Read models that share a projection are made together."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "readmodels",
            nargs="*",
            metavar="READMODEL",
            help="such as customers.OrderSummary; all when not given",
        )
        parser.add_argument(
            "--check", action="store_true", help="only compare; exit code 1 when rows differ"
        )

    def handle(self, *args: Any, readmodels: list[str], check: bool, **options: Any) -> None:
        act = projections.compare if check else projections.rebuild
        differing = 0
        for group in projections.groups(_chosen(readmodels)):
            try:
                result = act(group, say=self._progress)
            except RebuildFailed as error:
                raise CommandError(str(error)) from error
            for model, found in result.differences.items():
                differing += len(found)
                self._report(model._meta.label, found, check=check)
            if result.missed:
                self.stderr.write(
                    f"{result.missed} deliveries to these projections are parked or dead: the rows "
                    "lack them. See `manage.py audit`."
                )
        if check and differing:
            raise CommandError(f"{differing} rows differ. `manage.py rebuild` repairs them.")

    def _progress(self, text: str) -> None:
        if self.stdout.isatty():
            self.stdout.write(f"\r{text}", ending="")

    def _report(self, label: str, found: list[Difference], *, check: bool) -> None:
        start = "\r" if self.stdout.isatty() else ""
        rows = f"{len(found)} row{'' if len(found) == 1 else 's'}"
        verb = "differ" if check else "replaced"
        self.stdout.write(f"{start}{label}: {f'{rows} {verb}' if found else 'as the events say'}")
        for difference in found[:SHOWN]:
            self.stdout.write(f"  {difference}")
        if len(found) > SHOWN:
            self.stdout.write(f"  and {len(found) - SHOWN} more")


def _chosen(names: list[str]) -> list[type[ReadModel]]:
    known = {model._meta.label: model for model in projections.read_models()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CommandError(
            f"There is no read model {', '.join(unknown)}. There are: {', '.join(sorted(known))}."
        )
    return [known[name] for name in names] if names else list(known.values())
