"""Start-up checks: every way to wire messages and handlers wrongly has an id and a hint.

| id             | what is wrong                                                     |
|----------------|-------------------------------------------------------------------|
| messaging.E001 | a command has no handler in the service that owns it, or several   |
| messaging.E002 | a service handles a command that another one owns                  |
| messaging.E003 | a projection loads a row that is not a read model                  |
| messaging.E004 | a handler loads a row of another service                           |
| messaging.E005 | a row's key is not unique within its tenant                        |
| messaging.E006 | an effect handler performs an event, or a command of another service |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db.models import UniqueConstraint

from .messages import contract_of, contracts
from .models import ReadModel, Row
from .registry import Handler, handlers, handlers_of


def register() -> None:
    """Make `manage.py check`, and with it every command, look at the wiring."""
    checks.register(check_wiring)


def check_wiring(**_: Any) -> list[CheckMessage]:
    """All wiring mistakes of the installed services."""
    return [*_commands(), *(error for handler in handlers() for error in _handler(handler))]


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
    if handler.kind == "performs":
        for message_type in handler.message_types:
            contract = contract_of(message_type)
            if contract.service != handler.service or contract.kind != "command":
                yield Error(
                    f"{handler.name} performs {contract.name}.",
                    hint="An effect is a command of its own service, asked for by its handlers.",
                    id="messaging.E006",
                )


def _unique(model: type[Row]) -> bool:
    wanted = {"tenant", *model.key_columns()}
    return any(
        isinstance(constraint, UniqueConstraint) and set(constraint.fields) == wanted
        for constraint in model._meta.constraints
    )
