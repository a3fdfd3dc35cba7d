"""`manage.py rebuild`: make read models again from all events, while everything goes on."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging import rebuilds
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.projections import Held, Result, groups, read_models
from ecommerce.messaging.replay import Difference, RebuildFailed
from ecommerce.messaging.services import service

SHOWN = 5
ACTOR = "manage.py"
LATER = 3
"""Exit code: somebody else is at it; the same later may go well."""


class Command(BaseCommand):
    help = (
        "Make read models again from the events of all services and replace the rows that differ. "
        "Read models that share a projection are made together. Exit code 3: another session holds "
        "their tables, or rebuilds them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "readmodels",
            nargs="*",
            metavar="READMODEL",
            help="such as customers.OrderSummary; all when not given",
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--compare", action="store_true", help="only compare; exit code 1 when rows differ"
        )
        instead.add_argument(
            "--cancel", action="store_true", help="call off those that wait or are under way"
        )

    def handle(
        self, *args: Any, readmodels: list[str], compare: bool, cancel: bool, **options: Any
    ) -> None:
        chosen = groups(_chosen(readmodels))
        if cancel:
            self._cancel(chosen)
            return
        differing = 0
        for group in chosen:
            result = self._run(group, compare=compare)
            for model, found in result.differences.items():
                differing += len(found)
                self._report(model._meta.label, found, compare=compare)
            if result.missed:
                self.stderr.write(
                    f"{result.missed} deliveries to these projections are parked or dead: the rows "
                    "lack them. See `manage.py audit`."
                )
        if compare and differing:
            raise CommandError(f"{differing} rows differ. `manage.py rebuild` repairs them.")

    def _run(self, group: Sequence[type[ReadModel]], *, compare: bool) -> Result:
        try:
            return rebuilds.run(group, ACTOR, compare=compare, watch=self._progress)
        except Held as error:
            raise CommandError(f"{rebuilds.named(group)}: {error}", returncode=LATER) from error
        except rebuilds.Busy as error:
            raise CommandError(str(error), returncode=LATER) from error
        except (RebuildFailed, rebuilds.Cancelled) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(f"{rebuilds.named(group)}: cancelled, nothing was changed") from None

    def _cancel(self, chosen: list[list[type[ReadModel]]]) -> None:
        for group in chosen:
            rows = service(group[0]._meta.app_label).tables.rebuild._default_manager
            for row in rows.filter(models_named=rebuilds.named(group)).order_by("started_at"):
                if rebuilds.cancel(row):
                    self.stdout.write(f"{row.models_named}: called off, it was {row.state}")

    def _progress(self, events: int, total: int) -> None:
        if self.stdout.isatty():
            self.stdout.write(f"\r{events} of {total} events read", ending="")

    def _report(self, label: str, found: list[Difference], *, compare: bool) -> None:
        start = "\r" if self.stdout.isatty() else ""
        rows = f"{len(found)} row{'' if len(found) == 1 else 's'}"
        verb = "differ" if compare else "replaced"
        self.stdout.write(f"{start}{label}: {f'{rows} {verb}' if found else 'as the events say'}")
        for difference in found[:SHOWN]:
            self.stdout.write(f"  {difference}")
        if len(found) > SHOWN:
            self.stdout.write(f"  and {len(found) - SHOWN} more")


def _chosen(names: list[str]) -> list[type[ReadModel]]:
    known = {model._meta.label: model for model in read_models()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CommandError(
            f"There is no read model {', '.join(unknown)}. There are: {', '.join(sorted(known))}."
        )
    return [known[name] for name in names] if names else list(known.values())
