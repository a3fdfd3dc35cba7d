"""`manage.py events`: list, follow, export and verify what the services' logs hold."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging import events, verification
from ecommerce.messaging.errors import ContractError
from ecommerce.messaging.events import Event, LogHeld, Wanted
from ecommerce.messaging.folds import moment
from ecommerce.messaging.messages import contract_named
from ecommerce.messaging.services import ServiceConfig, services

MOST = 1_000_000
NOTHING, WRONG = 1, 2
"""Exit codes: there is none, or something is not as it must be; the question makes no sense."""


class Command(BaseCommand):
    help = (
        "The services' events. Exit code 1: list or export found none, or verify found something "
        "wrong; 2: the question makes no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        tasks = parser.add_subparsers(dest="task", required=True)
        for task, text in (
            ("list", "the newest events that fit"),
            ("follow", "events as they are committed, until Ctrl-C"),
            ("export", "all events that fit, as JSON lines, service by service"),
        ):
            chosen = tasks.add_parser(task, help=text)
            chosen.add_argument("--service", choices=[each.label for each in services()])
            chosen.add_argument("--stream", help="such as order/0192… or product/prod-456")
            chosen.add_argument("--name", help="such as orders.OrderPaid")
            chosen.add_argument("--tenant", help="of this shop only")
            chosen.add_argument("--since", help="recorded at this instant or later")
            if task != "follow":
                chosen.add_argument("--until", help="recorded at this instant or before")
            if task != "export":
                chosen.add_argument("--limit", type=_count, help="so many at most")
            else:
                chosen.add_argument("--personal", action="store_true", help="with personal data")
        checked = tasks.add_parser("verify", help="versions, readability and folds of every stream")
        checked.add_argument("--service", choices=[each.label for each in services()])

    def handle(self, *args: Any, task: str, service: str | None, **options: Any) -> None:
        chosen = [each for each in services() if service in (None, each.label)]
        if task == "verify":
            self._verify(chosen)
            return
        wanted = _wanted(options)
        try:
            getattr(self, f"_{task}")(chosen, wanted, options)
        except LogHeld as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("")

    def _list(self, chosen: list[ServiceConfig], wanted: Wanted, options: dict[str, Any]) -> None:
        limit = options["limit"] or 50
        found = list(events.merged(events.newest(each.label, wanted, limit) for each in chosen))
        self._print(iter(found[-limit:]))

    def _follow(self, chosen: list[ServiceConfig], wanted: Wanted, options: dict[str, Any]) -> None:
        found = events.follow([each.label for each in chosen], wanted)
        self._print(islice(found, options["limit"]))

    def _print(self, found: Iterator[Event]) -> None:
        some = False
        for event in found:
            some = True
            self.stdout.write(
                f"{event.recorded_at:%Y-%m-%d %H:%M:%S.%f}  {event.tenant}  {event.stream}  "
                f"{event.version}  {event.name}  by {event.actor}"
            )
            self.stdout.flush()
        self._require(some=some)

    def _export(self, chosen: list[ServiceConfig], wanted: Wanted, options: dict[str, Any]) -> None:
        some = False
        for config in chosen:
            for event in events.read(config.label, wanted):
                some = True
                self.stdout.write(_line(event, personal=options["personal"]))
        self._require(some=some)

    def _require(self, *, some: bool) -> None:
        if not some:
            raise CommandError("There is no such event.", returncode=NOTHING)

    def _verify(self, chosen: list[ServiceConfig]) -> None:
        wrong = 0
        for config in chosen:
            found = 0
            for problem in verification.problems(config):
                found += 1
                self.stdout.write(f"{config.label}: {problem}")
            if not found:
                self.stdout.write(f"{config.label}: as it must be")
            wrong += found
        if wrong:
            raise CommandError(f"{wrong} things are wrong.", returncode=NOTHING)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < MOST):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST}")
    return int(text)


def _wanted(options: dict[str, Any]) -> Wanted:
    if name := options["name"]:
        try:
            contract_named(name)
        except ContractError as error:
            raise CommandError(f"{error}.", returncode=WRONG) from error
    return Wanted(
        tenant=options["tenant"],
        stream=options["stream"],
        name=name,
        since=_instant(options["since"]),
        until=_instant(options.get("until")),
    )


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = moment(text)
    except ValueError:
        instant = 0
    if not isinstance(instant, datetime):
        raise CommandError(f"{text!r} is no instant: write 2026-03-01T12:00:00Z.", returncode=WRONG)
    return instant


def _line(event: Event, *, personal: bool) -> str:
    """An event as it is stored. `person` names whom the personal fields are about."""
    fields: dict[str, Any] = {
        "service": event.source,
        "position": event.position,
        "tenant": event.tenant,
        "stream": event.stream,
        "version": event.version,
        "name": event.name,
        "contract": event.contract,
        "recordedAt": event.recorded_at,
        "messageId": event.message_id,
        "correlationId": event.correlation_id,
        "causeId": event.cause_id,
        "actor": event.actor,
        "payload": msgspec.Raw(event.payload.encode()),
    }
    if personal and event.personal is not None:
        fields |= {"person": event.person, "personal": msgspec.Raw(event.personal.encode())}
    return msgspec.json.encode(fields).decode()
