"""What must hold whenever the shop comes to rest, whatever happened before."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from customers.models import OrderSummary
from ecommerce.messaging import projections
from ecommerce.messaging.database import connect
from ecommerce.messaging.flows import flows
from ecommerce.messaging.folds import fold_differences
from ecommerce.messaging.services import ServiceConfig, services
from ecommerce.messaging.worker import Worker
from inventory.models import Reservation
from orders.models import Order
from payments.models import Payment
from shipping.models import Shipment

PATIENCE = 30.0


def settle(*labels: str) -> None:
    """Let workers of these services, or of all, do everything that can be done now."""
    Worker(labels or None).drain(PATIENCE)


def findings(*, failures_of: Collection[str] = ()) -> list[str]:
    """Everything that is not as it must be; `failures_of` are handlers that were meant to fail."""
    found = [str(each) for each in projections.differences()]
    for aggregate in projections.aggregates():
        found += [str(each) for each in fold_differences(aggregate)]
    for config in services():
        found += [*_broken_invariants(config), *_failures(config, failures_of), *_waiting(config)]
        found += [*_done_twice(config), *_sent_unforeseen(config)]
    return [*found, *_disagreements()]


def _broken_invariants(config: ServiceConfig) -> Iterator[str]:
    queries = import_module(f"{config.name}.queries")
    with connect(config.database) as conn:
        for name, sql in queries.INVARIANTS:
            rows = conn.execute(sql).fetchall()
            if rows:
                yield f"{config.label}: not true: {name}: {rows[:5]}"


def _failures(config: ServiceConfig, expected: Collection[str]) -> Iterator[str]:
    with connect(config.database) as conn:
        for kind, model in (("parked", config.tables.parked), ("dead", config.tables.dead)):
            rows = conn.execute(
                f'SELECT handler, error FROM "{model._meta.db_table}" '
                "WHERE NOT handler = ANY(%b::text[])",
                (list(expected),),
            ).fetchall()
            yield from (f"{kind}: {handler}: {error}" for handler, error in rows)


def _waiting(config: ServiceConfig) -> Iterator[str]:
    """Calls that were due and that nobody has made."""
    with connect(config.database) as conn:
        rows = conn.execute(
            f'SELECT handler, error FROM "{config.tables.effect._meta.db_table}" '
            "WHERE due_at < messaging_now() - interval '1 s'"
        ).fetchall()
        yield from (f"not performed: {handler} {error}" for handler, error in rows)


def _done_twice(config: ServiceConfig) -> Iterator[str]:
    with connect(config.database) as conn:
        rows = conn.execute(
            f"""SELECT handler, message_id, array_agg(worker || ' ' || delivered_at ORDER BY id)
                FROM "{config.tables.delivery._meta.db_table}"
                WHERE outcome = 'done' GROUP BY handler, message_id HAVING count(*) > 1"""
        ).fetchall()
        yield from (f"done twice: {handler} {message} {by}" for handler, message, by in rows)


@cache
def _senders() -> dict[str, set[str]]:
    return {flow.contract.name: {each.name for each in flow.senders} for flow in flows()}


def _sent_unforeseen(config: ServiceConfig) -> Iterator[str]:
    """Messages of which `manage.py messages` does not say that one of those who may have sent
    them does."""
    with connect(config.database) as conn:
        rows = conn.execute(
            f"""SELECT DISTINCT l.name, array_agg(d.handler::text)
                FROM "{config.tables.log._meta.db_table}" l
                JOIN "{config.tables.delivery._meta.db_table}" d
                  ON d.message_id = l.cause_id AND d.outcome = 'done'
                GROUP BY l.message_id, l.name"""
        ).fetchall()
        for name, handlers in rows:
            if not _senders()[name] & set(handlers):
                yield f"{config.label}: {name} was sent by one of {handlers}, and none is known to"


# What the other services may have for an order in each status; None is no row.
Allowed = dict[str, set[str | None]]
MONEY: Allowed = {
    "Paid": {"Captured"},
    "Shipped": {"Captured"},
    "Delivered": {"Captured"},
    "Cancelled": {None, "Failed", "Voided", "Refunded"},
}
STOCK: Allowed = {
    "Paid": {"Reserved"},
    "Shipped": {"Committed"},
    "Delivered": {"Committed"},
    "Cancelled": {"Released", "Insufficient"},
}
GOODS: Allowed = {
    "Shipped": {"Created", "InTransit", "Exception", "Delivered"},
    "Delivered": {"Delivered"},
    "Cancelled": {None, "Failed"},
}


def _disagreements() -> Iterator[str]:
    """Orders of which another service thinks otherwise than orders does."""
    others: tuple[tuple[type[Any], Allowed], ...] = (
        (Payment, MONEY),
        (Reservation, STOCK),
        (Shipment, GOODS),
    )
    known = {model: _statuses(model) for model, _ in others}
    shown = _statuses(OrderSummary)
    for order in Order.objects.all():
        key = (order.tenant, order.order_id)
        if shown.get(key) != order.status:
            yield f"{order} is {order.status}; its customer sees {shown.get(key)}"
        for model, allowed in others:
            found = known[model].get(key)
            if order.status in allowed and found not in allowed[order.status]:
                yield f"{order} is {order.status}; its {model.__name__.lower()} is {found}"


def _statuses(model: type[Any]) -> dict[tuple[str, str], str]:
    rows = model.objects.values_list("tenant", "order_id", "status")
    return {(tenant, order_id): status for tenant, order_id, status in rows}
