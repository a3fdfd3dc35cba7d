"""`manage.py messages`: who sends what to whom."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ecommerce.messaging.flows import as_markdown, as_mermaid, as_text, flows


class Command(BaseCommand):
    help = "List all messages with who sends and who takes them, as the code says it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--markdown", action="store_true", help="as docs/messages.md")
        form.add_argument("--mermaid", action="store_true", help="as a diagram of the services")

    def handle(self, *args: Any, markdown: bool, mermaid: bool, **options: Any) -> None:
        write = as_markdown if markdown else as_mermaid if mermaid else as_text
        self.stdout.write(write(flows()))
