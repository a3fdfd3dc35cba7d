"""Every service's messaging tables in the admin, to read.

They grow without end: each list is read along an index, newest or most urgent first, and the
search goes by what the tables are indexed by.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from .backoffice import ReadOnlyAdmin, dropdown, labelled, structured, tenants
from .desk import STATES
from .desk_admin import CauseFilter, DeskAdmin
from .messages import contracts
from .reasons import REASONS
from .registry import handlers
from .searching import as_uuid, first_position, streams
from .services import services


def names(_: type[Model]) -> Iterable[str]:
    return [contract.name for contract in contracts()]


def own_names(model: type[Model]) -> Iterable[str]:
    """Messages that a service may write itself: its own, and commands to anyone."""
    return [c.name for c in contracts() if c.service == _label(model) or c.kind == "command"]


def handler_names(model: type[Model]) -> Iterable[str]:
    return sorted(handler.name for handler in handlers(_label(model)))


def sources(_: type[Model]) -> Iterable[str]:
    return [config.label for config in services()]


def _label(model: type[Model]) -> str:
    return model._meta.app_label


class MessagingAdmin(ReadOnlyAdmin):
    """One of the messaging tables. The tabs lead to it; only the logs are in the sidebar."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description="error")
    def short_error(self, row: Any) -> str:
        return Truncator(row.error.strip().rpartition("\n")[2]).chars(80) or "—"


class MessageAdmin(MessagingAdmin):
    """A table of whole messages."""

    shown_as = {name: structured(name) for name in ("payload", "personal")}
    search_fields = ("stream",)
    search_help_text = (
        "The id of a message, its cause or correlation; a stream such as order/…; or the id in it."
    )
    list_filter: Any = (dropdown("name", names),)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        wanted = Q(stream__in=streams(search_term))
        if request.user.is_superuser:
            wanted &= Q(tenant__in=tenants())  # the index begins with it
        if named := as_uuid(search_term):
            wanted |= Q(message_id=named) | Q(correlation_id=named) | Q(cause_id=named)
            queryset = self.since(queryset, named)
        return queryset.filter(wanted), False

    def since(self, queryset: QuerySet[Any], named: uuid.UUID) -> QuerySet[Any]:
        """The rows among which a message with, or caused with, this id can be."""
        return queryset


class LogAdmin(MessageAdmin):
    icon = "mail"
    list_display: Any = ("position", "name", "stream", "version", "tenant", "actor", "recorded_at")
    list_filter: Any = (dropdown("name", own_names), "recorded_at")
    ordering = ("-position",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def since(self, queryset: QuerySet[Any], named: uuid.UUID) -> QuerySet[Any]:
        return queryset.filter(position__gte=first_position(self.model, named))


class InboxAdmin(LogAdmin):
    list_display = ("position", "source", "name", "stream", "tenant", "recorded_at")
    list_filter = (dropdown("name", names), dropdown("source", sources), "recorded_at")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False


class EffectAdmin(MessageAdmin):
    list_display = (
        "name",
        "stream",
        "due_at",
        "attempts",
        "claims",
        "short_error",
        "tenant",
        "recorded_at",
    )
    list_filter = (dropdown("handler", handler_names), "due_at")
    ordering = ("due_at",)


class DeadLetterAdmin(DeskAdmin, MessageAdmin):
    list_display = (
        "name",
        "handler",
        "stream",
        labelled("state"),
        "reason",
        "short_error",
        "redrives",
        "tenant",
        "dead_at",
    )
    list_filter = (
        dropdown("state", STATES),
        dropdown("reason", REASONS),
        CauseFilter,
        dropdown("handler", handler_names),
        dropdown("name", names),
        "dead_at",
    )
    ordering = ("-dead_at",)


class DeadLetterActionAdmin(MessagingAdmin):
    kept_back = frozenset({"personal_before"})
    shown_as = {name: structured(name) for name in ("payload_before", "personal_before")}
    list_display = ("done_at", "action", "actor", "note", "dead_id")
    ordering = ("-id",)


class TimerAdmin(MessageAdmin):
    list_display = ("name", "stream", "due_at", "tenant", "recorded_at")
    list_filter = (dropdown("name", own_names), "due_at")
    ordering = ("due_at",)


class ScheduleAdmin(MessagingAdmin):
    list_display = ("name", "rule", "due_at", "ran_at")
    ordering = ("name",)


class SnapshotAdmin(MessagingAdmin):
    list_display = ("stream", "version", "tenant", "taken_at")
    ordering = ("-id",)


class ParkedAdmin(MessagingAdmin):
    list_display = (
        "handler",
        "stream",
        "source",
        "attempts",
        "due_at",
        "short_error",
        "tenant",
        "parked_at",
    )
    list_filter = (dropdown("handler", handler_names), dropdown("source", sources), "parked_at")
    search_fields = ("stream",)
    search_help_text = "The id of a message; a stream such as order/…; or the id in it."
    ordering = ("-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        wanted = Q(stream__in=streams(search_term))
        if request.user.is_superuser:
            wanted &= Q(tenant__in=tenants())
        if named := as_uuid(search_term):
            wanted |= Q(message_id=named)
        return queryset.filter(wanted), False


class DeliveryAdmin(MessagingAdmin):
    list_display = (
        "delivered_at",
        "handler",
        labelled("outcome"),
        "attempt",
        "policy",
        "waited",
        "ran",
        "message_id",
    )
    list_filter = (
        dropdown("handler", handler_names),
        dropdown("outcome", ("done", "failed")),
        "delivered_at",
    )
    shown_as = {"waited_us": "waited", "ran_us": "ran"}
    search_fields = ("message_id",)
    search_help_text = "The id of a message."
    ordering = ("-id",)

    @admin.display(description="waited")
    def waited(self, row: Any) -> str:
        return f"{row.waited_us / 1000:,.1f}\u00a0ms"

    @admin.display(description="ran")
    def ran(self, row: Any) -> str:
        return f"{row.ran_us / 1000:,.1f}\u00a0ms"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        named = as_uuid(search_term)
        return (queryset.filter(message_id=named) if named else queryset.none()), False


class IdempotencyKeyAdmin(MessagingAdmin):
    list_display = ("key", "route", "caller", "status", "tenant", "created_at")
    list_filter = ("created_at",)
    search_fields = ("key",)
    search_help_text = "A whole key."
    ordering = ("-created_at",)


class RebuildAdmin(MessagingAdmin):
    list_display = ("models_named", "state", "events", "total", "differences", "started_at")
    ordering = ("-started_at",)


class CanaryAdmin(MessagingAdmin):
    list_display = ("name", "asked_at", "answered_at")
    ordering = ("name",)


class RelayAdmin(MessagingAdmin):
    list_display = ("source", "position")
    ordering = ("source",)


class PartitionAdmin(MessagingAdmin):
    list_display = ("number", "owner", "token", "expires_at", "takeovers", "suspect")
    ordering = ("number",)


class WorkerAdmin(MessagingAdmin):
    list_display = ("name", "kind", "started_at", "heartbeat_at")
    ordering = ("name",)


class HandlerNameAdmin(MessagingAdmin):
    list_display = ("name", "kind")
    list_filter = (dropdown("kind", ("handles", "performs", "projects")),)
    search_fields = ("name__icontains",)
    ordering = ("name",)


for _service in services():
    _tables = _service.tables
    admin.site.register(_tables.log, LogAdmin)
    admin.site.register(_tables.inbox, InboxAdmin)
    admin.site.register(_tables.relay, RelayAdmin)
    admin.site.register(_tables.partition, PartitionAdmin)
    admin.site.register(_tables.worker, WorkerAdmin)
    admin.site.register(_tables.handler, HandlerNameAdmin)
    admin.site.register(_tables.effect, EffectAdmin)
    admin.site.register(_tables.parked, ParkedAdmin)
    admin.site.register(_tables.dead, DeadLetterAdmin)
    admin.site.register(_tables.dead_action, DeadLetterActionAdmin)
    admin.site.register(_tables.delivery, DeliveryAdmin)
    admin.site.register(_tables.timer, TimerAdmin)
    admin.site.register(_tables.schedule, ScheduleAdmin)
    admin.site.register(_tables.snapshot, SnapshotAdmin)
    admin.site.register(_tables.idempotency, IdempotencyKeyAdmin)
    admin.site.register(_tables.rebuild, RebuildAdmin)
    admin.site.register(_tables.canary, CanaryAdmin)
