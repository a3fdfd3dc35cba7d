"""The part of the start-up checks that looks at rows, deadlines, schedules, services and settings.

`checks` has the list of all, with their ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist
from django.db.models import DateTimeField
from django.utils.module_loading import import_string, module_has_submodule

from .deadlines import Deadline, deadlines
from .messages import contract_of
from .models import Aggregate, ReadModel
from .registry import handlers, handlers_of
from .schedules import Scheduled, schedules
from .services import ServiceConfig, services

MOST_PARTITIONS = 1024
"""Each is a row that a worker renews every few seconds."""


def mistakes() -> Iterator[CheckMessage]:
    """All mistakes in what is declared beside handlers, and in the settings."""
    yield from _rows()
    yield from _deadlines()
    for schedule in schedules():
        yield from _schedule(schedule)
    for service in services():
        yield from _invariants(service)
    yield from _settings()


def too_long(name: str, service: str, table: str, column: str) -> CheckMessage | None:
    """The mistake that a stored name is longer than its column in the service's tables."""
    tables = apps.get_app_config(service).tables  # type: ignore[attr-defined]
    most = getattr(tables, table)._meta.get_field(column).max_length
    if len(name) <= most:
        return None
    return Error(
        f"{name} has {len(name)} characters; {most} are stored.",
        hint="Give it a shorter name.",
        id="messaging.E009",
    )


def _rows() -> Iterator[CheckMessage]:
    projected = {
        load.model for handler in handlers() if handler.kind == "projects" for load in handler.loads
    }
    for model in apps.get_models():
        if issubclass(model, ReadModel) and model not in projected:
            yield Error(
                f"{model._meta.label} is a read model that no projection keeps.",
                hint="Write a function with @projects that loads it, or make it an Aggregate.",
                id="messaging.E012",
            )
        if issubclass(model, Aggregate) and model.apply is Aggregate.apply:
            yield Error(
                f"{model._meta.label} is an aggregate without `apply`.",
                hint="Say how each event of its stream changes it.",
                id="messaging.E013",
            )


def _deadlines() -> Iterator[CheckMessage]:
    seen = set()
    for deadline in deadlines():
        place = f"{deadline.model._meta.label}.{deadline.column}"
        if place in seen:
            yield Error(
                f"{place} has two deadlines.",
                hint="The first to pass empties the column: give each a column of its own.",
                id="messaging.E015",
            )
        seen.add(place)
        if wrong := _column(deadline):
            yield Error(f"The deadline {place} {wrong[0]}.", hint=wrong[1], id="messaging.E014")


def _column(deadline: Deadline) -> tuple[str, str] | None:
    """What is wrong with a deadline's column, and what to do."""
    try:
        field = deadline.model._meta.get_field(deadline.column)
    except FieldDoesNotExist:
        return "is in no column", "Name a field of the model."
    if not (isinstance(field, DateTimeField) and field.null):
        return "is not in a nullable DateTimeField", "Passing empties the column: allow NULL."
    indexes = [index.fields[:1] for index in deadline.model._meta.indexes]
    if [deadline.column] not in indexes:
        return (
            "is not indexed",
            "It is asked for every few seconds: add an Index that begins with it.",
        )
    return None


def _schedule(schedule: Scheduled) -> Iterator[CheckMessage]:
    if schedule.service not in {service.label for service in services()}:
        yield Error(
            f"The schedule {schedule.name} belongs to no installed service.",
            hint="Its name begins with a service's: schedule('orders.sweep', …).",
            id="messaging.E008",
        )
        return
    for text, column in ((schedule.name, "name"), (schedule.rule, "rule")):
        if mistake := too_long(text, schedule.service, "schedule", column):
            yield mistake
    try:
        contract = contract_of(schedule.message(datetime(2026, 1, 1, tzinfo=UTC)))
    except Exception as error:
        wrong = f"cannot make its message: {type(error).__name__}: {error}"
    else:
        takers = [handler.kind for handler in handlers_of(contract.type, contract.service)]
        sendable = takers == ["handles"] or contract.kind == "event"
        if sendable and (contract.kind == "command" or contract.service == schedule.service):
            return
        wrong = f"sends {contract.name}"
    yield Error(
        f"The schedule {schedule.name} {wrong}.",
        hint="For any time that is given, return a command that one handler takes, or an event of "
        "its own service.",
        id="messaging.E016",
    )


def _invariants(service: ServiceConfig) -> Iterator[CheckMessage]:
    has_queries = module_has_submodule(service.module, "queries")
    if not has_queries or not hasattr(import_module(f"{service.name}.queries"), "INVARIANTS"):
        yield Error(
            f"{service.name} has no INVARIANTS in its queries.",
            hint="List statements that must find no row: the audit asks them.",
            id="messaging.E017",
        )


def _settings() -> Iterator[CheckMessage]:
    partitions: Any = settings.MESSAGING_PARTITIONS
    if not (isinstance(partitions, int) and 1 <= partitions <= MOST_PARTITIONS):
        yield Error(
            f"MESSAGING_PARTITIONS is {partitions!r}.",
            hint=f"A whole number from 1 to {MOST_PARTITIONS}, which never changes.",
            id="messaging.E018",
        )
    known = {service.label for service in services()}
    for service, database in settings.SERVICE_DATABASES.items():
        if service not in known or database not in settings.DATABASES:
            yield Error(
                f"SERVICE_DATABASES puts {service!r} into {database!r}.",
                hint=f"Services are {sorted(known)}, databases {sorted(settings.DATABASES)}.",
                id="messaging.E019",
            )
    if settings.MESSAGING_WAKE and not _is_function(settings.MESSAGING_WAKE):
        yield Error(
            f"MESSAGING_WAKE is {settings.MESSAGING_WAKE!r}, which is not a function.",
            hint="Name one by its dotted path, or leave it empty.",
            id="messaging.E020",
        )


def _is_function(path: str) -> bool:
    try:
        return callable(import_string(path))
    except ImportError:
        return False
