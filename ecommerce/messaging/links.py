"""Ways through the admin: the sidebar, the tabs, and from a row to whatever is about the same thing.

No service knows another. Two rows are about the same order because both have its id, and its
messages are those of the stream `order/<id>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.text import capfirst

from .desk import OPEN, all_letters
from .envelopes import Envelope, LogEntry
from .messages import contract_named, contracts
from .models import ReadModel
from .queues import DeadLetter
from .registry import handlers
from .services import services
from .tables import ServiceTables


@dataclass(frozen=True)
class Link:
    """Where to find rows: `title` says which."""

    title: str
    url: str


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar: what is elsewhere, a group for each service, in their order, the rest, and last the
    services' messages, whose other tables are in tabs above them."""
    labels = [config.label for config in services()]
    logs = {config.tables.log for config in services()}
    registered = list(admin.site._registry)
    apps = admin.site.get_app_list(request)
    apps.sort(key=lambda app: labels.index(app["app_label"]) if app["app_label"] in labels else 99)
    groups, messages = [], []
    for app in apps:
        models = sorted(app["models"], key=lambda model: registered.index(model["model"]))
        tables = [_item(model) for model in models if model["model"] not in logs]
        groups.append({"title": app["name"], "collapsible": True, "items": tables})
        messages += [_item(m) | {"title": app["name"]} for m in models if m["model"] in logs]
    last = {"title": "Messages", "collapsible": True, "separator": True, "items": messages}
    return [{"items": _elsewhere(request)}, *groups, *([last] if messages else [])]


def _item(model: dict[str, Any]) -> dict[str, Any]:
    icon = getattr(admin.site._registry[model["model"]], "icon", "table_rows")
    return {"title": model["name"], "link": model["admin_url"], "icon": icon}


def _elsewhere(request: HttpRequest) -> list[dict[str, Any]]:
    places = [("admin:index", "dashboard", "Today")]
    if _operates(request):
        places += [
            ("console", "monitoring", "Console"),
            ("console-letters", "mark_email_unread", "Dead letters"),
        ]
    places.append(("landing", "home", "Front door"))
    return [
        {"title": title, "link": url, "icon": icon, "active": request.path == url}
        for name, icon, title in places
        if (url := page_at(name))
    ]


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """The messaging tables of a service, as tabs above each other's lists."""
    return [
        {
            "models": [str(model._meta) for model in config.tables],
            "items": [
                {"title": _title(model), "link": _list(model)}
                for model in _most_wanted_first(config.tables)
                if admin.site._registry[model].has_view_permission(request)
            ],
        }
        for config in services()
    ]


def _most_wanted_first(tables: ServiceTables) -> list[type[Model]]:
    first = [tables.log, tables.delivery, tables.effect, tables.parked, tables.dead, tables.timer]
    return [*first, *(model for model in tables if model not in first)]


def links(row: Model, request: HttpRequest) -> list[tuple[str, list[Link]]]:
    """Lists of what is about the same order, product or customer as this row, under headings."""
    here = _Here(row, request)
    groups = [
        (f"This {key.removesuffix('_id')}", [*here.rows(key), *here.messages(key), *here.dead(key)])
        for key in here.keys
    ]
    groups.append(("This message", [*here.relatives()]))
    groups.append(("In the console", [*here.in_console()]))
    return [(heading, found) for heading, found in groups if found]


class _Here:
    """A row, and who looks at it."""

    def __init__(self, row: Any, request: HttpRequest) -> None:
        self.row = row
        self.request = request
        self.keys = dict(_keys(row))

    def rows(self, key: str) -> Iterator[Link]:
        """Rows of any service that can be found by the key."""
        for model, model_admin in admin.site._registry.items():
            readable = hasattr(model_admin, "reads") and key in model_admin.search_fields
            if readable and model is not type(self.row):
                yield from self.link(model, self.keys[key], _title(model))

    def messages(self, key: str) -> Iterator[Link]:
        """The stream's messages in the logs of the services that write into such streams."""
        stream = f"{key.removesuffix('_id')}/{self.keys[key]}"
        speaking = {contract.service for contract in contracts() if contract.stream_field == key}
        for config in services():
            if config.label in speaking:
                title = f"Messages of {config.verbose_name.lower()}"
                yield from self.link(config.tables.log, stream, title)

    def dead(self, key: str) -> Iterator[Link]:
        """The stream's dead letters that are not over: why something about it has not happened."""
        stream = f"{key.removesuffix('_id')}/{self.keys[key]}"
        for config in services():
            letters = all_letters(config).filter(stream=stream, tenant=self.row.tenant)
            if letters.filter(state__in=OPEN).exists():
                title = f"Dead letters of {config.verbose_name.lower()}"
                yield from self.link(config.tables.dead, stream, title)

    def relatives(self) -> Iterator[Link]:
        """Of a message: those that it began, or that began with it, and its deliveries."""
        if not isinstance(self.row, Envelope):
            return
        contract = contract_named(self.row.name)
        hearing = {h.service for h in handlers() if contract.type in h.message_types}
        for config in services():
            if config.label == self.row._meta.app_label:
                correlation = str(self.row.correlation_id)
                yield from self.link(config.tables.log, correlation, "Same correlation")
            if config.label in hearing:
                title = f"Deliveries in {config.verbose_name.lower()}"
                yield from self.link(config.tables.delivery, str(self.row.message_id), title)

    def in_console(self) -> Iterator[Link]:
        """Pages that show more; they are about the tenant of who looks."""
        user: Any = self.request.user
        if not _operates(self.request) or getattr(self.row, "tenant", "") != user.tenant_id:
            return
        label = self.row._meta.app_label
        pages = (
            [("console-order", "Order", [self.keys["order_id"]])] if "order_id" in self.keys else []
        )
        if isinstance(self.row, LogEntry):
            pages.append(("console-message", "Message", [label, str(self.row.message_id)]))
        if isinstance(self.row, DeadLetter):
            pages.append(("console-letters", "Dead letters", []))
        if isinstance(self.row, ReadModel):
            pages.append(("console-read-models", "Read models", []))
        pages.append(("console-auditor", "Auditor", []))
        yield from (
            Link(title, url) for name, title, args in pages if (url := page_at(name, *args))
        )

    def link(self, model: type[Model], term: str, title: str) -> Iterator[Link]:
        """A list searched for a term, in the row's tenant, for those who may see it."""
        if not admin.site._registry[model].has_view_permission(self.request):
            return
        query = {"q": term}
        if self.request.user.is_superuser and hasattr(model, "tenant"):
            query["tenant"] = self.row.tenant
        yield Link(title, f"{_list(model)}?{urlencode(query)}")


def _keys(row: Any) -> Iterator[tuple[str, str]]:
    """What the row is about, such as `order_id` and its value."""
    if hasattr(row, "stream"):
        category, _, value = row.stream.partition("/")
        yield f"{category}_id", value
    elif hasattr(row, "tenant"):
        kinds = {contract.stream_field for contract in contracts()}
        for field in row._meta.concrete_fields:
            if field.name in kinds and (value := getattr(row, field.name)):
                yield field.name, value


def _operates(request: HttpRequest) -> bool:
    user: Any = request.user
    return user.is_staff and "operations" in user.scopes()


def page_at(name: str, *args: str) -> str:
    """The address of a page, or nothing if there is none of this name."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def _list(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _title(model: type[Model]) -> str:
    return capfirst(str(model._meta.verbose_name_plural))
