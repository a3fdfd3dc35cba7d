"""`manage.py crowd`: carry out what the console's demo page was asked for, in a process of its own."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ecommerce.console.crowds import carry_out
from ecommerce.console.models import Crowd


class Command(BaseCommand):
    help = "Carry out a crowd that the console's demo page has sent; by hand, use demo."
    requires_system_checks: tuple[str, ...] = ()  # whoever starts it has run them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("crowd", type=uuid.UUID)
        parser.add_argument("--url", required=True, help="where the shop is")

    def handle(self, *args: Any, crowd: uuid.UUID, url: str, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("Crowds are for development: their orders are real to the shop.")
        found = Crowd.objects.filter(pk=crowd, state="running").first()
        if found is None:
            raise CommandError(f"There is no crowd {crowd} at work.")
        carry_out(found, url)
