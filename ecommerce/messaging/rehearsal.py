"""A dead letter, edited or as it is, without consequences.

`edited` puts other content into a letter; `rehearse` shows what sending it would do. A delivery is
run by the kernel's own code on the real rows, which are locked for that moment, with all its
writes, and rolled back. A call is never made: all there is to show is with what it would be made.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from django.db import models, transaction

from .burial import DESK
from .database import Connection, connection
from .delivery import Delivery, Work, run, workspace_for
from .desk import all_letters, find, locked, note_action
from .errors import Conflict, ContractError, Invalid, MessagingError, describe
from .log import ENVELOPE, Outgoing, Stored
from .messages import Message, contract_named, decode, encode
from .models import Row
from .queues import DeadLetter
from .reasons import headline
from .registry import Handler, handler_named
from .rows import Workspace, table
from .services import ServiceConfig
from .transactions import load

PATIENCE = (
    "SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '5s', true)"
)
Content = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A row that would be added (no `before`) or changed, by column. Rows hold personal data."""

    row: str
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """A message that would be sent, or a call that would be asked for, now or at a later time."""

    name: str
    payload: str
    personal: str | None
    effect: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Rehearsal:
    """What sending a letter out would do, or the error that it would end with."""

    error: str = ""
    calls: str = ""
    """The effect that would be performed; a call is not rehearsed."""
    changes: list[Change] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)


def edited(
    letter: DeadLetter, payload: Content | None = None, personal: Content | None = None
) -> DeadLetter:
    """Put other content into a letter, not stored; what is not given stays.

    Of a call only the personal part can be changed: its key, and what it moves, is in the rest.
    Raises Conflict or Invalid for content that this letter cannot have.
    """
    handler = handler_named(letter.handler)
    if handler.kind == "projects":
        raise Conflict("a projection follows the log: mend it and retry, or rebuild its read model")
    if handler.kind == "performs" and payload is not None:
        raise Conflict("of a call only the personal part can be edited: the rest makes its key")
    try:
        contract = contract_named(letter.name)
        stored_payload, stored_personal = _content(letter)
        payload = stored_payload if payload is None else payload
        personal = stored_personal if personal is None else personal
        if misplaced := payload.keys() & set(contract.personal_fields):
            raise Invalid("This is personal: give it apart.", field=min(misplaced))
        message = contract.decoder.decode(msgspec.json.encode(payload | personal))
    except (ContractError, msgspec.MsgspecError) as error:
        raise Invalid(str(error), field="payload") from error
    stream, columns = contract.stream_of(message), encode(message)
    if stream != letter.stream:
        raise Invalid(f"This must stay: the letter is of {letter.stream}.", field="payload")
    if columns.person != letter.person:
        raise Invalid("This must stay: the letter is about another person.", field="payload")
    letter.payload, letter.personal = columns.payload, columns.personal
    letter.contract = contract.version
    return letter


def edit(
    config: ServiceConfig,
    letter_id: uuid.UUID,
    *,
    actor: str,
    payload: Content | None = None,
    personal: Content | None = None,
    note: str = "",
    tenant: str = "",
) -> DeadLetter:
    """Store other content for a letter that is at the desk; its trail keeps what was there.

    Raises NotFound, and Conflict or Invalid as `edited` does.
    """
    find(config, letter_id, tenant)
    with transaction.atomic(using=config.database):
        letter = locked(all_letters(config)).get(pk=letter_id)
        if letter.state not in ("waiting", "held"):
            raise Conflict(f"the letter is {letter.state}: only one at the desk can be edited")
        before = {"payload_before": letter.payload, "personal_before": letter.personal}
        edited(letter, payload, personal).save(update_fields=["payload", "personal", "contract"])
        note_action(config, [letter], action="edit", actor=actor, note=note, **before)
    return letter


def rehearse(config: ServiceConfig, letter: DeadLetter) -> Rehearsal:
    """What sending a letter out would do now; nothing is changed, nobody is called."""
    known = {name: getattr(letter, name) for name in ENVELOPE}
    stored = Stored(position=0, **known, recorded_at=letter.recorded_at, source=DESK)
    handler = handler_named(letter.handler)
    try:
        message = stored.message()
    except ContractError as error:
        return Rehearsal(error=f"unreadable: {error}")
    if not handler.message_types:
        return Rehearsal(error=f"no handler is named {letter.handler!r}")
    if handler.kind == "performs":
        columns = encode(message)
        call = Sent(letter.name, columns.payload, columns.personal)
        return Rehearsal(calls=handler.name, sent=[call])
    return _run(config, stored, message, handler)


def _run(config: ServiceConfig, stored: Stored, message: Message, handler: Handler) -> Rehearsal:
    delivery = Delivery(stored, message, handler)
    with connection(config.database) as conn:
        try:
            with conn.transaction(force_rollback=True):
                conn.execute(PATIENCE, prepare=False)
                return _rehearsed(conn, config, delivery)
        except (psycopg.Error, MessagingError) as error:
            return Rehearsal(error=describe(error))


def _rehearsed(conn: Connection, config: ServiceConfig, delivery: Delivery) -> Rehearsal:
    workspace = workspace_for([delivery])
    load(conn, workspace)
    before = {row.pk: _values(row) for row in workspace.loaded()}
    (now,) = conn.execute("SELECT messaging_now()").fetchone() or (None,)
    assert now is not None
    work = run(config.label, [delivery], workspace, now)
    if delivery.error is not None:
        return Rehearsal(error=headline(delivery.error))
    for statement in (*work.writes(config.tables), *work.appends(config.tables)):
        conn.execute(*statement)
    return Rehearsal(changes=_changes(workspace, before), sent=_sent(work))


def _changes(workspace: Workspace, before: dict[Any, dict[str, Any]]) -> list[Change]:
    changes = []
    for row in workspace.touched():
        after, was = _values(row), before.get(row.pk)
        names = [name for name in after if was is None or was[name] != after[name]]
        if names:
            old = None if was is None else {name: was[name] for name in names}
            changes.append(Change(_name(row), old, {name: after[name] for name in names}))
    return changes


def _sent(work: Work) -> list[Sent]:
    return [
        *(_shown(item) for item in work.messages),
        *(_shown(each.item, effect=each.handler.name, at=each.due_at) for each in work.effects),
        *(_shown(item, at=due) for item, due in work.timers),
    ]


def _shown(item: Outgoing, **more: Any) -> Sent:
    columns = encode(item.message)
    return Sent(item.contract.name, columns.payload, columns.personal, **more)


def _values(row: Row) -> dict[str, Any]:
    return {column.name: column.dump(getattr(row, column.attname)) for column in _columns(row)}


def _columns(row: models.Model) -> Sequence[Any]:
    return table(type(row)).columns


def _name(row: Row) -> str:
    key = "/".join(str(getattr(row, name)) for name in row.key_columns())
    return f"{row._meta.label} {row.tenant}/{key}"


def _content(letter: DeadLetter) -> tuple[Content, Content]:
    """What a letter holds, in the form of the current contract if its own can be read."""
    payload, personal = letter.payload, letter.personal
    try:
        columns = encode(decode(letter.name, letter.contract, payload, personal))
        payload, personal = columns.payload, columns.personal
    except ContractError:
        pass  # the editor sees what is stored
    try:
        return _json(payload), _json(personal or "{}")
    except msgspec.MsgspecError as error:
        raise ContractError(f"what is stored cannot be read: {error}") from error


def _json(text: str) -> Content:
    return msgspec.json.decode(text, type=Content)
