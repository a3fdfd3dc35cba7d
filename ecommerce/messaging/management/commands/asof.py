"""`manage.py asof`: an aggregate or a read model as it was."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging.folds import Moment, as_of, moment
from ecommerce.messaging.models import Aggregate, ReadModel
from ecommerce.messaging.projections import aggregates, read_models
from ecommerce.messaging.replay import RebuildFailed
from ecommerce.messaging.rows import table
from ecommerce.messaging.travel import read_model_as_of

ABSENT, WRONG = 1, 2
"""Exit codes: it did not exist then; the question makes no sense."""

State = dict[str, Any]


class Command(BaseCommand):
    help = (
        "An aggregate at a version or an instant, or a read model at an instant, as JSON; with "
        "--diff, what has changed until then. Exit code 1: it did not exist; 2: there is no such "
        "thing to ask for."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", help="such as orders.Order or customers.OrderSummary")
        parser.add_argument("key", nargs="?", help="its key; all rows of a read model without one")
        at = parser.add_mutually_exclusive_group()
        at.add_argument("--at", help="an instant such as 2026-03-01T12:00:00Z; now when not given")
        at.add_argument("--version", dest="number", help="a version of an aggregate")
        parser.add_argument("--diff", metavar="MOMENT", help="a second instant or version")
        parser.add_argument("--tenant", default=settings.DEFAULT_TENANT, help="the shop")
        parser.add_argument("--personal", action="store_true", help="with personal data")

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        """Django's own --version gives way to ours."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **options)

    def handle(self, *args: Any, model: str, key: str | None, **options: Any) -> None:
        found = _model(model)
        before = self._seen(found, key, _moment(options["at"] or options["number"]), options)
        if options["diff"] is None:
            self._print(before)
            return
        after = self._seen(found, key, _moment(options["diff"]), options)
        for each in sorted(before.keys() | after.keys()):
            self._compare(each, before.get(each, {}), after.get(each, {}), alone=key is not None)

    def _seen(
        self, model: type[Any], key: str | None, at: Moment | None, options: dict[str, Any]
    ) -> dict[str, State]:
        """The rows that the question is about, by key. Raises CommandError when there is none."""
        tenant, personal = options["tenant"], options["personal"]
        rows: dict[str, Any] = {}
        if issubclass(model, Aggregate):
            if key is None:
                raise CommandError(f"Which {model._meta.label}? Name its key.", returncode=WRONG)
            past = as_of(model, tenant, key, at, personal=personal)
            rows = {key: past.row} if past else {}
        else:
            if isinstance(at, int):
                raise CommandError(
                    "A read model has no versions: name an instant.", returncode=WRONG
                )
            try:
                seen = read_model_as_of(
                    model, tenant, at or datetime.now(UTC), key, personal=personal
                )
            except RebuildFailed as error:
                raise CommandError(str(error)) from error
            rows = seen.rows
            if seen.missed:
                self.stderr.write(f"{seen.missed} deliveries are parked or dead and left out.")
        if key is not None and not rows:
            raise CommandError(f"There was no {model._meta.label} {key} then.", returncode=ABSENT)
        return {found: _state(row) for found, row in rows.items()}

    def _print(self, rows: dict[str, State]) -> None:
        for state in rows.values():
            self.stdout.write(msgspec.json.format(msgspec.json.encode(state)).decode())

    def _compare(self, key: str, before: State, after: State, *, alone: bool) -> None:
        for name in after or before:
            if before.get(name) != after.get(name):
                label = name if alone else f"{key} {name}"
                self.stdout.write(f"{label}: {_text(before.get(name))} → {_text(after.get(name))}")


def _model(label: str) -> type[Aggregate] | type[ReadModel]:
    known: dict[str, Any] = {each._meta.label: each for each in [*aggregates(), *read_models()]}
    if label not in known:
        raise CommandError(
            f"There is no {label}. There are: {', '.join(sorted(known))}.", returncode=WRONG
        )
    found: type[Aggregate] | type[ReadModel] = known[label]
    return found


def _moment(text: str | None) -> Moment | None:
    try:
        return None if text is None else moment(text)
    except ValueError as error:
        raise CommandError(str(error), returncode=WRONG) from error


def _state(row: Aggregate | ReadModel) -> State:
    """A row's columns as JSON would have them, but for the id, which no event gives."""
    columns = table(type(row)).columns
    values = {each.name: getattr(row, each.attname) for each in columns if each.name != "id"}
    state: State = msgspec.json.decode(msgspec.json.encode(values))
    return state


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
