"""`manage.py deadletters`: the dead-letter desk on the command line, for all tenants."""

from __future__ import annotations

import getpass
import sys
import uuid
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_datetime

from ecommerce.messaging import desk, rehearsal
from ecommerce.messaging.causes import causes
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.errors import Invalid, Refused
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.reasons import REASONS, headline
from ecommerce.messaging.rehearsal import Rehearsal
from ecommerce.messaging.services import ServiceConfig, services

SHOWN = 50
ACTIONS = ("list", "causes", "show", "retry", "edit", "hold", "give-up")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Command(BaseCommand):
    help = (
        "List what was given up, group it by cause, and decide: retry it, edit it, hold it, or give "
        "it up. Letters are named by their ids, or chosen by what is known of them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", default="causes", choices=ACTIONS)
        parser.add_argument("letters", nargs="*", type=uuid.UUID, metavar="LETTER")
        chosen = parser.add_argument_group("which letters")
        chosen.add_argument("--service", default="")
        chosen.add_argument("--handler", default="")
        chosen.add_argument("--name", default="", help="of the message: orders.OrderCreated")
        chosen.add_argument("--reason", default="", choices=("", *REASONS))
        chosen.add_argument("--cause", default="", help="as `causes` shows it")
        chosen.add_argument("--tenant", default="")
        chosen.add_argument("--state", default="", choices=("", *desk.STATES))
        chosen.add_argument("--since", default="", help="90m, 24h, 7d, or a time such as "
                            "2026-03-01T12:00:00Z")  # fmt: skip
        how = parser.add_argument_group("what to do with them")
        how.add_argument("--rate", type=float, help="letters a second; all at once without")
        how.add_argument("--note", default="", help="why, for the trail")
        how.add_argument("--payload", default="", help="for edit: JSON, or @file")
        how.add_argument(
            "--personal", default="", help="for edit: JSON, or @file; the personal part"
        )
        how.add_argument("--dry-run", action="store_true", help="show what a retry would do")
        how.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--show-personal", action="store_true", help="show personal data, too")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        act = getattr(self, f"_{action.replace('-', '_')}")
        try:
            act(self._selection(options), options)
        except Invalid as refusal:
            raise CommandError(f"{refusal.field}: {refusal.detail}") from refusal
        except Refused as refusal:
            raise CommandError(refusal.detail) from refusal

    def _selection(self, options: dict[str, Any]) -> Selection:
        names = ("service", "handler", "name", "reason", "cause", "tenant", "state")
        given = {name: options[name] for name in names}
        return Selection(ids=tuple(options["letters"]), since=_since(options["since"]), **given)

    def _causes(self, chosen: Selection, _: dict[str, Any]) -> None:
        found = causes(chosen)
        for cause in found:
            self.stdout.write(
                f"{cause.cause}  {cause.letters:>5}  {cause.reason:<14}  {cause.handler}\n"
                f"    {cause.first:%Y-%m-%d %H:%M} to {cause.last:%Y-%m-%d %H:%M}  {cause.error}"
            )
        if not found:
            self.stdout.write("There are no dead letters.")

    def _list(self, chosen: Selection, _: dict[str, Any]) -> None:
        for config in chosen.services():
            letters = chosen.letters(config).order_by("-dead_at", "-pk")
            for letter in letters[:SHOWN]:
                self.stdout.write(_line(letter))
            if (more := letters.count() - SHOWN) > 0:
                self.stdout.write(
                    f"and {more} more of {config.label}: narrow it down, or see causes"
                )

    def _show(self, chosen: Selection, options: dict[str, Any]) -> None:
        for config, letter in _named(chosen):
            self.stdout.write(_line(letter))
            self.stdout.write(f"payload   {letter.payload}")
            if letter.personal is not None:
                shown = letter.personal if options["show_personal"] else "(see --show-personal)"
                self.stdout.write(f"personal  {shown}")
            self.stdout.write(f"{letter.error.rstrip()}\n")
            for each in desk.trail(config, letter.pk):
                self.stdout.write(
                    f"{each.done_at:%Y-%m-%d %H:%M:%S}  {each.action:<9} {each.actor}  {each.note}"
                )
                if each.payload_before is not None:
                    self.stdout.write(f"    before: {each.payload_before}")

    def _retry(self, chosen: Selection, options: dict[str, Any]) -> None:
        rate = options["rate"]
        if rate is not None and not 0 < rate <= desk.FASTEST:
            raise CommandError(f"--rate is letters a second: above 0, at most {desk.FASTEST:g}")
        if options["dry_run"]:
            for config, letter in islice(_at_desk(chosen), SHOWN):
                self.stdout.write(_line(letter))
                self._tell(rehearsal.rehearse(config, letter), personal=options["show_personal"])
            return
        self._decide("retry", partial(desk.retry, rate=rate), chosen, options)

    def _hold(self, chosen: Selection, options: dict[str, Any]) -> None:
        self._decide("hold", desk.hold, chosen, options)

    def _give_up(self, chosen: Selection, options: dict[str, Any]) -> None:
        self._decide("give up", desk.give_up, chosen, options)

    def _edit(self, chosen: Selection, options: dict[str, Any]) -> None:
        found = _named(chosen)
        if len(found) != 1:
            raise CommandError("Name one letter to edit.")
        ((config, letter),) = found
        payload, personal = _content(options, "payload"), _content(options, "personal")
        if payload is None and personal is None:
            raise CommandError("Say what to put into it: --payload, --personal, or both.")
        if options["dry_run"]:
            rehearsal.edited(letter, payload, personal)
            self._tell(rehearsal.rehearse(config, letter), personal=options["show_personal"])
            return
        self._confirm(f"Edit {_line(letter)}?", options)
        why = {"actor": _actor(), "note": options["note"]}
        rehearsal.edit(config, letter.pk, payload=payload, personal=personal, **why)
        self.stdout.write("edited; it is sent with the next retry")

    def _decide(
        self, verb: str, decision: Callable[..., int], chosen: Selection, options: dict[str, Any]
    ) -> None:
        if chosen.ids:
            _named(chosen)
        if letters := sum(1 for _ in _at_desk(chosen)):
            self._confirm(f"{verb.capitalize()} {_letters(letters)}?", options)
        decided = decision(chosen, actor=_actor(), note=options["note"])
        self.stdout.write(f"{verb}: {_letters(decided)}")

    def _confirm(self, question: str, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Say --yes where nobody can be asked.")
        if input(f"{question} [y/N] ").strip().lower() != "y":
            raise CommandError("Nothing was done.")

    def _tell(self, found: Rehearsal, *, personal: bool) -> None:
        if found.error:
            self.stdout.write(f"  it would fail: {found.error}")
        for change in found.changes:
            verb = "add" if change.before is None else "change"
            self.stdout.write(f"  it would {verb} {change.row}: {', '.join(change.after)}")
            if personal:
                for name, value in change.after.items():
                    before = "" if change.before is None else f"{change.before[name]!r} to "
                    self.stdout.write(f"      {name}: {before}{value!r}")
        for sent in found.sent:
            effect = found.calls or sent.effect
            verb = f"call {effect} with" if effect else "send"
            at = f" at {sent.at:%Y-%m-%d %H:%M:%S}" if sent.at and not effect else ""
            self.stdout.write(f"  it would {verb} {sent.name}{at} {sent.payload}")
            if personal and sent.personal:
                self.stdout.write(f"      {sent.personal}")


def _at_desk(chosen: Selection) -> Iterator[tuple[ServiceConfig, DeadLetter]]:
    """What a decision would be about; by query, only what waits."""
    if not (chosen.ids or chosen.state):
        chosen = replace(chosen, state="waiting")
    for config in chosen.services():
        for letter in chosen.letters(config).iterator():
            yield config, letter


def _named(chosen: Selection) -> list[tuple[ServiceConfig, DeadLetter]]:
    """The letters that were named. Raises CommandError for one that does not exist."""
    if not chosen.ids:
        raise CommandError("Name a letter by its id: `manage.py deadletters list` has them.")
    found = {
        letter.pk: (config, letter)
        for config in services()
        for letter in desk.all_letters(config).filter(pk__in=chosen.ids)
    }
    if missing := [str(each) for each in chosen.ids if each not in found]:
        raise CommandError(f"There is no dead letter {', '.join(missing)}.")
    return [found[each] for each in chosen.ids]


def _since(text: str) -> datetime | None:
    if not text:
        return None
    if text[:-1].isdecimal() and text[-1] in UNITS:
        return datetime.now(UTC) - timedelta(**{UNITS[text[-1]]: int(text[:-1])})
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise CommandError("--since takes 90m, 24h, 7d, or a time such as 2026-03-01T12:00:00Z")
    return found


def _content(options: dict[str, Any], name: str) -> dict[str, Any] | None:
    text = options[name]
    if not text:
        return None
    try:
        read = Path(text[1:]).read_text() if text.startswith("@") else text
        return msgspec.json.decode(read, type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise CommandError(f"--{name}: {error}") from error


def _line(letter: DeadLetter) -> str:
    return (
        f"{letter.pk}  {letter.dead_at:%Y-%m-%d %H:%M:%S}  {letter.state:<8}  {letter.reason:<14}  "
        f"{letter.handler}  {letter.name}  {letter.tenant}  {letter.stream}  "
        f"{headline(letter.error)}"
    )


def _letters(count: int) -> str:
    return f"{count} letter{'' if count == 1 else 's'}"


def _actor() -> str:
    return f"shell:{getpass.getuser()}"
