"""The dead-letter desk: what people, and programs for them, decide about what was given up.

    waiting ── retry ──▶ retrying ── done ──▶ resolved
       ▲                     │
       └── given up again ───┘

`hold` keeps a letter from everything but a retry of its own; `give_up` ends it. A letter that is
still in line for its retry can be held or given up, one that has been sent cannot.

Each decision locks the letters, takes only those whose state allows it, and is written to their
trails in the same transaction: two people who decide at once decide once. What a decision by query
does not name (held letters, say) it leaves alone; what is named by its id is meant.
Sending is the workers' (see `redrive`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections, transaction
from django.db.models import DateTimeField, Func, Q, QuerySet

from .errors import Conflict, NotFound
from .queues import DeadLetter, DeadLetterAction
from .registry import handlers
from .services import ServiceConfig, services

STATES = ("waiting", "held", "retrying", "resolved", "given_up")
OPEN = ("waiting", "held", "retrying")
"""The states of letters that are not over."""
DECIDABLE = {
    "retry": ("waiting", "held", "given_up"),
    "hold": ("waiting", "given_up", "retrying"),
    "give up": ("waiting", "held", "retrying"),
}
"""The states of letters that can be decided about so."""
FASTEST = 1000.0
"""Letters a second."""

Letters = QuerySet[DeadLetter]


@dataclass(frozen=True)
class Selection:
    """Which letters: those that fit everything that is given."""

    service: str = ""
    ids: tuple[uuid.UUID, ...] = ()
    handler: str = ""
    name: str = ""
    reason: str = ""
    cause: str = ""
    tenant: str = ""
    state: str = ""
    since: datetime | None = None

    def services(self) -> list[ServiceConfig]:
        """The services concerned. Raises NotFound for one that does not exist."""
        found = [each for each in services() if self.service in ("", each.label)]
        if not found:
            raise NotFound(f"there is no service {self.service!r}")
        return found

    def letters(self, config: ServiceConfig) -> Letters:
        """A service's letters that fit; without a state, those that are not over."""
        exact = {
            "handler": self.handler,
            "name": self.name,
            "reason": self.reason,
            "cause": self.cause,
            "tenant": self.tenant,
            "state": self.state,
        }
        found = all_letters(config).filter(
            **{name: value for name, value in exact.items() if value}
        )
        if self.ids:
            found = found.filter(pk__in=self.ids)
        elif not self.state:
            found = found.filter(state__in=OPEN)
        return found.filter(dead_at__gte=self.since) if self.since else found


def all_letters(config: ServiceConfig) -> Letters:
    """All letters of a service."""
    return config.tables.dead._default_manager.using(config.database).all()


def find(config: ServiceConfig, letter: uuid.UUID, tenant: str = "") -> DeadLetter:
    """One letter. Raises NotFound."""
    found = Selection(ids=(letter,), tenant=tenant).letters(config).first()
    if found is None:
        raise NotFound(f"{config.label} has no dead letter {letter}")
    return found


def trail(config: ServiceConfig, letter: uuid.UUID) -> list[DeadLetterAction]:
    """What was done with a letter, the oldest first."""
    actions = config.tables.dead_action._default_manager.using(config.database)
    return list(actions.filter(dead_id=letter).order_by("pk"))


def waiting(config: ServiceConfig) -> int:
    """How many letters of a service wait for a decision."""
    return all_letters(config).filter(state="waiting").count()


def count(selection: Selection, action: str) -> int:
    """How many letters a decision would be about now."""
    return sum(
        selection.letters(config).filter(_at_desk(selection, DECIDABLE[action])).count()
        for config in selection.services()
    )


def retry(selection: Selection, *, actor: str, note: str = "", rate: float | None = None) -> int:
    """Have letters sent out again; return how many.

    With a rate, so many a second at most, behind those of the service that are in line already;
    without, at once. Raises Conflict when one that is named by its id has no handler any more.
    """

    def send(config: ServiceConfig, letters: Sequence[DeadLetter]) -> None:
        _line_up(config, [letter.pk for letter in letters], rate)

    known = Q(handler__in=[handler.name for handler in handlers()])
    if selection.ids:
        for config in selection.services():
            for gone in selection.letters(config).exclude(known)[:1]:
                raise Conflict(
                    f"no handler is named {gone.handler!r}: restore it, or give the letter up"
                )
    return _decide(selection, "retry", send, actor, note, known)


def hold(selection: Selection, *, actor: str, note: str = "") -> int:
    """Keep letters from being sent by a policy or with others; return how many."""
    return _decide(selection, "hold", _into("held"), actor, note)


def give_up(selection: Selection, *, actor: str, note: str = "") -> int:
    """End letters: what they ask for will not happen; return how many."""
    return _decide(selection, "give up", _into("given_up"), actor, note)


def note_action(config: ServiceConfig, letters: Sequence[DeadLetter], **action: Any) -> None:
    """Add a line to the trail of each letter."""
    trail = config.tables.dead_action
    trail._default_manager.using(config.database).bulk_create(
        [trail(dead_id=letter.pk, done_at=now(), **action) for letter in letters]
    )


def locked(letters: Letters) -> Letters:
    """The same letters, which nobody else can decide about until COMMIT."""
    return letters.select_for_update()


def now() -> Func:
    """The database's clock."""
    return Func(function="messaging_now", output_field=DateTimeField())


def _decide(
    selection: Selection,
    action: str,
    carry_out: Callable[[ServiceConfig, Sequence[DeadLetter]], None],
    actor: str,
    note: str,
    among: Q = Q(),  # noqa: B008  it never changes
) -> int:
    at_desk = _at_desk(selection, DECIDABLE[action])
    decided = 0
    for config in selection.services():
        with transaction.atomic(using=config.database):
            found = selection.letters(config).filter(at_desk & among)
            letters = list(locked(found).order_by("recorded_at", "pk").only("pk"))
            if letters:
                carry_out(config, letters)
                note_action(config, letters, action=action, actor=actor, note=note)
            decided += len(letters)
    return decided


def _at_desk(selection: Selection, states: tuple[str, ...]) -> Q:
    """Which letters may be decided about; those that were sent out are gone."""
    at_desk = Q(state__in=set(states) - {"retrying"})
    if "retrying" in states:
        at_desk |= Q(state="retrying", due_at__isnull=False)
    return at_desk if selection.ids or selection.state else at_desk & Q(state="waiting")


def _into(state: str) -> Callable[[ServiceConfig, Sequence[DeadLetter]], None]:
    def write(config: ServiceConfig, letters: Sequence[DeadLetter]) -> None:
        chosen = all_letters(config).filter(pk__in=[letter.pk for letter in letters])
        chosen.update(state=state, state_at=now(), due_at=None)

    return write


def _line_up(config: ServiceConfig, ids: list[uuid.UUID], rate: float | None) -> None:
    """Give each letter the moment when it is sent. Whoever lines up holds the line's lock, so
    that all desks together keep to the rate."""
    dead = config.tables.dead._meta.db_table
    pause = 0.0 if rate is None else 1 / rate
    behind = f"""(SELECT max(due_at) + make_interval(secs => %s) FROM "{dead}"
                  WHERE due_at IS NOT NULL AND state = 'retrying')"""
    begin = "messaging_now()" if rate is None else f"greatest(messaging_now(), {behind})"
    values = [ids] if rate is None else [ids, pause]
    with connections[config.database].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(messaging_log_key(%s))", [dead])
        cursor.execute(
            f"""WITH line AS (
                    SELECT id, place FROM unnest(%s::uuid[]) WITH ORDINALITY AS u(id, place)),
                begin AS (SELECT {begin} AS at)
                UPDATE "{dead}" d SET state = 'retrying', state_at = messaging_now(),
                    due_at = begin.at + make_interval(secs => (line.place - 1) * %s)
                FROM line, begin WHERE d.id = line.id""",
            [*values, pause],
        )
