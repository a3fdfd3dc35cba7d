"""Schedules: messages that are sent again and again, by a rule in cron's form.

    schedule("orders.close_day", "5 0 * * *", message=lambda at: CloseDay(day=at.date()))

A schedule's row says when it is due next. Its message and the row's next time are one commit under
the row's lock, and any worker may sweep: rows under another's sweep are skipped. Rules are read in
UTC, by the database's clock.

Workers of two versions may run side by side. A worker sends only what its own code declares, with
the rule that the row holds; a row that nobody has sent for some minutes belongs to no code any
more, and whoever finds it removes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from typing import Literal

from cronsim import CronSim, CronSimError

from .context import Context
from .database import Connection
from .due import Sweep
from .errors import WiringError
from .log import Outgoing, append, outgoing
from .messages import Message, contract_of
from .models import uuid7
from .tables import ServiceTables
from .transactions import transaction

logger = logging.getLogger(__name__)

NO_SHOP = "-"
"""The tenant of what belongs to no shop. No shop can be called so."""
MOST_MISSED = 100
"""Messages that `misfire="all"` sends at once; of more missed times, the latest."""
ON_TIME = timedelta(seconds=60)
"""How late a time may be noticed without being missed, for `misfire="skip"`."""
FORGET_SECONDS = 300.0

Misfire = Literal["once", "skip", "all"]


@dataclass(frozen=True)
class Scheduled:
    """A declared schedule. `name` is stored, and begins with the service that it belongs to."""

    name: str
    rule: str
    message: Callable[[datetime], Message]
    misfire: Misfire = "once"

    @property
    def service(self) -> str:
        return self.name.partition(".")[0]

    def next_after(self, instant: datetime) -> datetime:
        """The first time after an instant."""
        return next(CronSim(self.rule, instant.astimezone(UTC)))

    def times(self, due_at: datetime, now: datetime) -> list[datetime]:
        """The times to send a message for, of those from when it was due until now."""
        backwards = CronSim(
            self.rule, now.astimezone(UTC) + timedelta(microseconds=1), reverse=True
        )
        passed = takewhile(lambda time: time >= due_at, backwards)
        if self.misfire == "all":
            return list(islice(passed, MOST_MISSED))[::-1]
        latest = list(islice(passed, 1))
        if self.misfire == "skip":
            return [time for time in latest if now - time <= ON_TIME]
        return latest


_schedules: dict[str, Scheduled] = {}


def schedule(
    name: str, rule: str, *, message: Callable[[datetime], Message], misfire: Misfire = "once"
) -> None:
    """Send `message(time)`, a command or an event of this service, at each time of a rule in UTC.

    `misfire` says what happens to times that passed while no worker ran: `once` sends one message,
    for the latest; `skip` sends none; `all` sends one for each, at most MOST_MISSED.

    Raises WiringError for a second schedule of this name, and for a rule without a next time.
    """
    if name in _schedules:
        raise WiringError(f"two schedules are named {name}")
    try:
        next(CronSim(rule, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise WiringError(f"schedule {name}: {rule!r} is no cron rule: {error}") from error
    _schedules[name] = Scheduled(name, rule, message, misfire)


def schedules(service: str | None = None) -> list[Scheduled]:
    """All schedules, or those of one service, by name."""
    chosen = (each for each in _schedules.values() if service in (None, each.service))
    return sorted(chosen, key=lambda each: each.name)


def enter(conn: Connection, service: str, tables: ServiceTables) -> None:
    """Let the database know a service's schedules: new ones, and those whose rule has changed."""
    own = schedules(service)
    (now,) = conn.execute("SELECT messaging_now()").fetchone() or (datetime.now(UTC),)
    conn.execute(
        f"""INSERT INTO "{tables.schedule._meta.db_table}" AS s (name, rule, due_at)
            SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[])
            ON CONFLICT (name) DO UPDATE SET rule = excluded.rule, due_at = excluded.due_at
            WHERE s.rule <> excluded.rule""",
        ([each.name for each in own], [each.rule for each in own],
         [each.next_after(now) for each in own]),
    )  # fmt: skip


def sweeps(service: str, tables: ServiceTables) -> list[Sweep]:
    """The sweep that sends the messages of a service's schedules."""
    own = {each.name: each for each in schedules(service)}
    table = tables.schedule._meta.db_table
    return [Sweep(table, "due_at", partial(_send_due, own=own, tables=tables))]


def _send_due(conn: Connection, own: dict[str, Scheduled], tables: ServiceTables) -> int:
    table = tables.schedule._meta.db_table
    with transaction(conn):
        rows = conn.execute(
            f"""SELECT name, rule, due_at, messaging_now() FROM "{table}"
                WHERE due_at <= messaging_now() ORDER BY name FOR UPDATE SKIP LOCKED"""
        ).fetchall()
        due = [(own[name], due_at, now) for name, rule, due_at, now in rows
               if name in own and own[name].rule == rule]  # fmt: skip
        sent = {each.name: _messages(each, due_at, now) for each, due_at, now in due}
        messages = [message for each in sent.values() for message in each]
        with conn.pipeline():
            conn.execute(
                f"""UPDATE "{table}" s SET due_at = u.due_at, ran_at = coalesce(u.ran_at, s.ran_at)
                    FROM unnest(%b::text[], %b::timestamptz[], %b::timestamptz[])
                        AS u(name, due_at, ran_at)
                    WHERE s.name = u.name""",
                (list(sent), [each.next_after(now) for each, _, now in due],
                 [now if sent[each.name] else None for each, _, now in due]),
            )  # fmt: skip
            if len(due) < len(rows):
                conn.execute(
                    f"""DELETE FROM "{table}" WHERE NOT name = ANY(%b::text[])
                        AND due_at < messaging_now() - make_interval(secs => %b::float8)""",
                    (list(own), FORGET_SECONDS),
                )
            if messages:
                conn.execute(*append(tables, messages))
    return len(messages)


def _messages(each: Scheduled, due_at: datetime, now: datetime) -> Sequence[Outgoing]:
    """What a schedule sends now; nothing, with a word in the log, when its code fails."""
    try:
        return [_outgoing(each, time, now) for time in each.times(due_at, now)]
    except Exception:
        logger.exception("schedule %s cannot make its message; its next time comes", each.name)
        return []


def _outgoing(each: Scheduled, time: datetime, now: datetime) -> Outgoing:
    message = each.message(time)
    contract = contract_of(message)
    if contract.kind == "event" and contract.service != each.service:
        raise WiringError(f"it sends {contract.name}, an event of another service")
    cause = uuid7()
    return outgoing(message, Context(
        tenant=NO_SHOP, actor=f"schedule:{each.name}", message_id=cause, correlation_id=cause,
        cause_id=None, traceparent=None, recorded_at=now, now=now,
    ))  # fmt: skip
