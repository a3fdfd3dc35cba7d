"""`manage.py handlers`: who handles what; forget a handler that was removed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging.errors import WiringError
from ecommerce.messaging.messages import contract_of
from ecommerce.messaging.names import retire
from ecommerce.messaging.registry import handlers


class Command(BaseCommand):
    help = "List all handlers with the messages they take, or retire a removed handler's name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--retire", metavar="NAME", help="forget this handler")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["retire"]:
            try:
                retire(options["retire"])
            except WiringError as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"{options['retire']} is forgotten")
            return
        for handler in handlers():
            taken = ", ".join(contract_of(message).name for message in handler.message_types)
            self.stdout.write(f"{handler.name:<45} {handler.kind:<9} {taken}")
