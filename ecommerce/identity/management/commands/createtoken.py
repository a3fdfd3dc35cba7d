"""Make an API token and show its secret, once."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ecommerce.identity import scopes, tenants
from ecommerce.identity.models import ApiToken, Tenant


class Command(BaseCommand):
    help = "Makes an API token and prints it. It cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", default=tenants.default(), help="slug; default %(default)s")
        parser.add_argument("--name", required=True, help="which program will call with it")
        parser.add_argument(
            "--scopes",
            required=True,
            help=f"with commas, or 'all'; there are {', '.join(sorted(scopes.ALL))}",
        )
        parser.add_argument("--customer", default="", help="reach this customer's things only")
        parser.add_argument("--days", type=int, help="how long it is valid; default for ever")

    def handle(self, *args: Any, **options: Any) -> None:
        if not Tenant.objects.filter(slug=options["tenant"]).exists():
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        if options["days"] is not None and options["days"] < 1:
            raise CommandError("--days must be at least 1.")
        _, secret = ApiToken.issue(
            tenant=options["tenant"],
            name=options["name"],
            scopes=_scopes(options["scopes"]),
            customer_id=options["customer"],
            expires_at=_expiry(options["days"]),
        )
        self.stderr.write("Keep this token now; it is not stored and cannot be shown again.")
        self.stdout.write(secret)


def _scopes(text: str) -> list[str]:
    chosen = {scope.strip() for scope in text.split(",") if scope.strip()}
    if chosen == {"all"}:
        return sorted(scopes.ALL)
    if unknown := chosen - scopes.ALL:
        raise CommandError(
            f"There is no scope {', '.join(sorted(unknown))}; "
            f"there are {', '.join(sorted(scopes.ALL))}."
        )
    if not chosen:
        raise CommandError("Name at least one scope.")
    return sorted(chosen)


def _expiry(days: int | None) -> Any:
    return None if days is None else timezone.now() + timedelta(days=days)
