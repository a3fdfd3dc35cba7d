"""Read models: how full and how fresh they are, and making them again from all events.

They concern all tenants, as over HTTP, and show no row of any.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.contrib import messages
from django.db import connections
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from ecommerce.messaging import rebuilds
from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.gauges import Gauge, gauges
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.projections import groups, read_models, writers
from ecommerce.messaging.searching import as_uuid
from ecommerce.messaging.services import ServiceConfig, service
from ecommerce.messaging.tables import Rebuild
from ecommerce.web.access import PageRequest

from .frame import operators, show
from .hops import duration

KEPT = 30
"""Rebuilds of each service that are looked at."""
SHOWN = 20


@dataclass(frozen=True)
class Group:
    """Read models that are made together, and the newest rebuilds of them."""

    service: str
    models: list[tuple[str, str]]
    projections: list[str]
    waiting: int
    oldest: str
    parked: int
    current: Rebuild | None
    last: Rebuild | None

    @property
    def key(self) -> str:
        """The read model by which the group is asked for."""
        return f"{self.service}.{self.models[0][0]}"


@require_safe
@operators
def index(request: PageRequest) -> HttpResponse:
    """All read models with their rows and their lag, and the rebuilds of them."""
    labels = list(dict.fromkeys(model._meta.app_label for model in read_models()))
    found = [row for label in labels for row in _rebuilds(service(label))]
    found.sort(key=lambda row: row.pk, reverse=True)
    measured = {gauge.service: gauge for gauge in gauges([request.auth.tenant])}
    counted = _rows(labels)
    listed = [
        _group(group, measured[group[0]._meta.app_label], counted, found)
        for group in groups(read_models())
    ]
    facts = {
        "groups": listed,
        "rebuilds": found[:SHOWN],
        "busy": any(group.current for group in listed),
        "running": rebuilds.RUNNING,
    }
    return show(request, "read_models", facts, place="console-read-models")


@require_POST
@operators
def rebuild(request: PageRequest) -> HttpResponse:
    """Ask for a rebuild, or with `compare` only for what it would change."""
    wanted, compare = request.POST.get("model", ""), "compare" in request.POST
    model = next((each for each in read_models() if each._meta.label == wanted), None)
    if model is None:
        raise Http404(f"there is no read model {wanted!r}")
    (group,) = groups([model])
    try:
        rebuilds.request(group, request.auth.actor, compare=compare)
    except Conflict as refusal:
        messages.error(request, f"Nothing was asked for: {refusal.detail}.")
    return redirect("console-read-models")


@require_POST
@operators
def cancel(request: PageRequest) -> HttpResponse:
    """Call a rebuild off; the read models stay as they are."""
    wanted, label = as_uuid(request.POST.get("rebuild", "")), request.POST.get("service", "")
    row = _find(label, wanted) if wanted else None
    if row is None:
        raise Http404("there is no such rebuild")
    if not rebuilds.cancel(row):
        messages.info(request, "It was over already.")
    return redirect("console-read-models")


def _find(label: str, wanted: Any) -> Rebuild | None:
    if label not in {model._meta.app_label for model in read_models()}:
        return None
    return service(label).tables.rebuild._default_manager.filter(pk=wanted).first()


def _rebuilds(config: ServiceConfig) -> list[Rebuild]:
    return list(config.tables.rebuild._default_manager.order_by("-id")[:KEPT])


def _group(
    group: list[type[ReadModel]], gauge: Gauge, counted: dict[str, int], found: list[Rebuild]
) -> Group:
    own = [row for row in found if row.models_named == rebuilds.named(group)]
    open_states = rebuilds.WAITING + rebuilds.RUNNING
    return Group(
        service=gauge.service,
        models=[(model.__name__, _about(counted.get(model._meta.db_table, -1))) for model in group],
        projections=[handler.name for handler in writers(set(group))],
        waiting=gauge.waiting,
        oldest=duration(gauge.oldest * 1000) if gauge.waiting else "",
        parked=sum(gauge.parked.values()),
        current=next((row for row in own if row.state in open_states), None),
        last=next((row for row in own if row.state in ("done", "compared", "failed")), None),
    )


def _rows(labels: list[str]) -> dict[str, int]:
    """About how many rows the tables have, as the database last counted; -1 when it never has."""
    found: dict[str, int] = {}
    by_alias = sorted(labels, key=lambda label: service(label).database)
    for alias, own in groupby(by_alias, key=lambda label: service(label).database):
        tables = [model._meta.db_table for label in own for model in read_models(label)]
        with connections[alias].cursor() as cursor:
            cursor.execute(
                """SELECT relname, reltuples::bigint FROM pg_class
                   WHERE relname = ANY(%s) AND relkind = 'r' AND pg_table_is_visible(oid)""",
                [tables],
            )
            found |= dict(cursor.fetchall())
    return found


def _about(rows: int) -> str:
    return "few" if rows < 0 else f"{rows:,}"
