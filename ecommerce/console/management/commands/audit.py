"""`manage.py audit`: ask everything that must hold, in every service and between them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import IO, Any, cast

import msgspec
from django.core.management.base import BaseCommand
from rich.console import Console

from ecommerce.audit import audit
from ecommerce.console.reports import print_findings


class Command(BaseCommand):
    help = "Ask everything that must hold, in every service and between them; exit code 1 if not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--rebuild", action="store_true", help="also compare read models with all events"
        )
        parser.add_argument(
            "--patience",
            type=float,
            default=5.0,
            metavar="SECONDS",
            help="ask again for so long what fails, since messages may be on their way (5)",
        )
        parser.add_argument("--json", action="store_true", help="machine-readable")

    def handle(
        self, *args: Any, rebuild: bool, patience: float, json: bool, **options: Any
    ) -> None:
        findings = audit(rebuild=rebuild, patience=patience)
        if json:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(findings)).decode())
        else:
            console = Console(file=cast(IO[str], self.stdout), highlight=False, soft_wrap=True)
            print_findings(console, findings)
        if not all(finding.ok for finding in findings):
            sys.exit(1)
