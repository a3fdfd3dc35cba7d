"""Start-up checks: every way to wire messages, handlers and rows wrongly has an id and a hint.

| id             | what is wrong                                                     |
|----------------|-------------------------------------------------------------------|
| messaging.E001 | a command has no handler in the service that owns it, or several   |
| messaging.E002 | a service handles a command that another one owns                  |
| messaging.E003 | a projection loads a row that is not a read model                  |
| messaging.E004 | a handler loads a row of another service                           |
| messaging.E005 | a row's key is not unique within its tenant                        |
| messaging.E006 | an effect handler performs an event, or a command of another service |
| messaging.E007 | a handler says that it returns what its kind may not               |
| messaging.E008 | a handler or a schedule belongs to no installed service            |
| messaging.E009 | a name that is stored in rows is too long for its column           |
| messaging.E010 | an effect handler gives up at the first fault                      |
| messaging.E011 | a message marks personal data where it is not kept apart           |
| messaging.E012 | a read model has no projection                                     |
| messaging.E013 | an aggregate does not say how events change it                     |
| messaging.E014 | a deadline's column is no nullable instant, or has no index        |
| messaging.E015 | two deadlines stand in one column                                  |
| messaging.E016 | a schedule cannot make its message, or nobody could take it        |
| messaging.E017 | a service says nothing about what must always hold                 |
| messaging.E018 | MESSAGING_PARTITIONS is no possible number                         |
| messaging.E019 | SERVICE_DATABASES names what does not exist                        |
| messaging.E020 | MESSAGING_WAKE cannot be called                                    |
| messaging.E021 | MESSAGING_POLICIES names no list of policies that can be meant     |
| messaging.E022 | WORKER_TOPICS names what no policy has                             |

Other mistakes raise WiringError or ContractError when their module is imported (a parameter that is
neither a row nor the context, a stream or person that is no field, a second handler or schedule of
a name), or when a worker compares the code with its database: see `names` and `partitions`.

Here are those of messages and handlers; `policies` has its own, `declarations` the rest.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db.models import UniqueConstraint

from . import declarations, policies
from .errors import WiringError
from .messages import Message, contract_of, contracts
from .models import ReadModel, Row
from .registry import Handler, Later, handlers, handlers_of
from .services import services

TAG = "messaging"


def register() -> None:
    """Make `manage.py check`, and with it every command, look at the wiring and the policies."""
    checks.register(check_wiring, TAG)
    checks.register(policies.check_policies, TAG)


def refuse_mistakes() -> None:
    """Ask these checks in a process that no command of `manage.py` starts: a web server, Celery.

    Raises WiringError with all that is wrong.
    """
    found = [f for f in checks.run_checks(tags=[TAG]) if f.is_serious() and not f.is_silenced()]
    if found:
        raise WiringError(" ".join(sorted(f"{mistake.id}: {mistake.msg}" for mistake in found)))


def check_wiring(**_: Any) -> list[CheckMessage]:
    """All wiring mistakes of the installed services."""
    return [
        *_commands(),
        *(error for handler in handlers() for error in _handler(handler)),
        *_hidden_personal_fields(),
        *declarations.mistakes(),
    ]


def _commands() -> Iterator[CheckMessage]:
    for contract in contracts():
        if contract.kind != "command":
            continue
        own = handlers_of(contract.type, contract.service)
        if len(own) != 1:
            yield Error(
                f"{contract.name} has {len(own)} handlers in {contract.service}.",
                hint="A command has exactly one handler, in the service that owns it.",
                id="messaging.E001",
            )
        for handler in handlers_of(contract.type):
            if handler.service != contract.service:
                yield Error(
                    f"{handler.name} handles {contract.name}, a command of another service.",
                    hint="Handle an event of that service, or let it own the command.",
                    id="messaging.E002",
                )


def _handler(handler: Handler) -> Iterator[CheckMessage]:
    for load in handler.loads:
        if handler.kind == "projects" and not issubclass(load.model, ReadModel):
            yield Error(
                f"{handler.name} is a projection and loads {load.model.__name__}.",
                hint="Projections keep ReadModel rows; use @handles to change an aggregate.",
                id="messaging.E003",
            )
        if load.model._meta.app_label != handler.service:
            yield Error(
                f"{handler.name} loads {load.model._meta.label}.",
                hint="A handler sees rows of its own service only; keep a read model of the rest.",
                id="messaging.E004",
            )
        if not _unique(load.model):
            yield Error(
                f"{load.model._meta.label} is not unique by tenant and {load.model.key}.",
                hint="Add a UniqueConstraint over tenant and the key.",
                id="messaging.E005",
            )
    yield from _returned(handler)
    yield from _kept(handler)
    if handler.kind == "performs":
        if not handler.retry_after:
            yield Error(
                f"{handler.name} gives up at the first fault of what it calls.",
                hint="Say after how many seconds to call again: @performs(retry=(2, 4, 8)).",
                id="messaging.E010",
            )
        for message_type in handler.message_types:
            contract = contract_of(message_type)
            if contract.service != handler.service or contract.kind != "command":
                yield Error(
                    f"{handler.name} performs {contract.name}.",
                    hint="An effect is a command of its own service, asked for by its handlers.",
                    id="messaging.E006",
                )


def _returned(handler: Handler) -> Iterator[CheckMessage]:
    """What a handler's annotation promises and the kernel would refuse when it comes."""
    for kind in _classes(typing.get_type_hints(handler.function).get("return")):
        if issubclass(kind, Row):
            if handler.kind == "performs":
                wrong = "an effect handler answers with messages"
            elif handler.kind == "handles" and issubclass(kind, ReadModel):
                wrong = "only projections add read model rows"
            elif not kind._meta.abstract and kind._meta.app_label != handler.service:
                wrong = "a handler adds rows of its own service only"
            else:
                continue
        elif handler.kind == "projects":
            wrong = "a projection keeps rows and causes nothing"
        elif issubclass(kind, Message) and kind is not Message and _foreign_event(kind, handler):
            wrong = "an event is published by the service that owns it"
        else:
            continue
        yield Error(
            f"{handler.name} returns {kind.__name__}.",
            hint=f"Return something else: {wrong}.",
            id="messaging.E007",
        )


def _classes(hint: Any) -> Iterator[type[Any]]:
    """The messages and rows that a return annotation names."""
    for part in typing.get_args(hint):
        yield from _classes(part)
    if isinstance(hint, type) and issubclass(hint, Row | Message | Later):
        yield hint


def _foreign_event(message: type[Message], handler: Handler) -> bool:
    contract = contract_of(message)
    return contract.kind == "event" and contract.service != handler.service


def _kept(handler: Handler) -> Iterator[CheckMessage]:
    """Where a handler's name stands: in its service's tables, if that has any."""
    if handler.service not in {service.label for service in services()}:
        yield Error(
            f"{handler.name} belongs to no installed service.",
            hint="Only services in INSTALLED_APPS are given messages: move it into one.",
            id="messaging.E008",
        )
    elif too_long := declarations.too_long(handler.name, handler.service, "delivery", "handler"):
        yield too_long


def _hidden_personal_fields() -> Iterator[CheckMessage]:
    for contract in contracts():
        for field in msgspec.structs.fields(contract.type):
            if field.encode_name not in contract.personal_fields and _marks(field.type):
                yield Error(
                    f"{contract.name}.{field.name} has personal data within.",
                    hint="Only a field of the message itself is kept apart: mark the whole field "
                    "as Personal.",
                    id="messaging.E011",
                )


def _marks(hint: Any) -> bool:
    """Whether a type, or one within it, is marked as Personal."""
    if any(getattr(item, "extra", None) == {"personal": True} for item in typing.get_args(hint)):
        return True
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return any(_marks(field.type) for field in msgspec.structs.fields(hint))
    return any(_marks(part) for part in typing.get_args(hint))


def _unique(model: type[Row]) -> bool:
    wanted = {"tenant", *model.key_columns()}
    return any(
        isinstance(constraint, UniqueConstraint) and set(constraint.fields) == wanted
        for constraint in model._meta.constraints
    )
