"""Rows of every registered model, about the order o1, its product p1 and its customer c1."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db import models
from django.urls import reverse

from ecommerce.identity.models import ApiToken, Tenant, User
from ecommerce.messaging.backoffice import ReadOnlyAdmin
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.services import services

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS = {
    "tenant": "main",
    "order_id": "o1",
    "product_id": "p1",
    "customer_id": "c1",
    "stream": "order/o1",
    "name": "orders.OrderCreated",
    "handler": "orders.create_order",
    "payload": '{"order_id":"o1"}',
    "personal": '{"street":"Secret Lane"}',
    "person": "c1",
    "headers": "{}",
    "currency": "USD",
    "status": "Pending",
    "step": "reserving",
    "template_id": "shipment.sms",
}
SPECIAL: dict[str, dict[str, Any]] = {
    "Reservation": {"status": "Reserved"},
    "Shipment": {"status": "Requested"},
    "Notification": {"status": "Undeliverable"},
    "SimulatedCharge": {"amount": 1},
}

Model = type[models.Model]


def label(model: Model) -> str:
    return model._meta.label_lower


def of_services() -> list[Model]:
    """Every model of every service."""
    return [model for config in services() for model in config.get_models()]


def registered() -> list[Model]:
    """Every model of ours that is in the admin."""
    return [
        model for model in admin.site._registry if model in {*of_services(), Tenant, User, ApiToken}
    ]


def read_only() -> list[Model]:
    return [m for m in different() if isinstance(admin.site._registry[m], ReadOnlyAdmin)]


def different() -> list[Model]:
    """As all services' messaging tables are shown alike, those of one service are enough."""
    like_others = {model for config in services()[1:] for model in config.tables}
    return [model for model in registered() if model not in like_others]


def with_tenant() -> list[Model]:
    return [model for model in read_only() if hasattr(model, "tenant")]


def url(model: Model, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def make(model: Any, number: int = 1, **given: Any) -> Any:
    """Save a row; rows with different numbers differ in what must be unique."""
    if model is Tenant:
        return Tenant.objects.create(slug=f"shop-{number}", name="A shop")
    if model is User:
        return User.objects.create_user(f"person-{number}")
    if model is ApiToken:
        return ApiToken.issue(tenant="main", name=f"program {number}", scopes=["orders:read"])[0]
    values = {field.attname: _value(field, number) for field in _filled(model)} | given
    return model._default_manager.create(**values)


def _filled(model: Any) -> list[Any]:
    unique = _unique_texts(model)
    return [
        field
        for field in model._meta.concrete_fields
        if not isinstance(field, models.AutoField)
        and (
            field.name in (*unique, "personal", "person") or not (field.null or field.has_default())
        )
        and not hasattr(field.db_default, "resolve_expression")
    ]


def _unique_texts(model: Any) -> set[str]:
    return {
        field.name for field in model._meta.concrete_fields if field.unique and not field.null
    } - {
        "id",
        "position",
    }


def _value(field: Any, number: int) -> Any:
    if field.name in SPECIAL.get(field.model.__name__, {}):
        return SPECIAL[field.model.__name__][field.name]
    for kind, value in VALUES:
        if isinstance(field, kind):
            return value(field, number)
    raise AssertionError(field)


def _integer(field: Any, number: int) -> int:
    return number + 100 if _is_key(field) else 0


def _text(field: Any, number: int) -> str:
    text = TEXTS.get(field.name, field.name)
    if field.name == "currency" and _is_key(field):
        return f"{number:03}"
    return f"{text}-{number}" if _is_key(field) and number > 1 else text[: field.max_length]


VALUES: list[tuple[type[models.Field[Any, Any]], Callable[[Any, int], Any]]] = [
    (models.UUIDField, lambda *_: uuid7()),
    (models.DateTimeField, lambda _, number: NOW + timedelta(minutes=number)),
    (models.DateField, lambda _, number: NOW.date() + timedelta(days=number)),
    (models.BooleanField, lambda *_: False),
    (models.IntegerField, _integer),
    (models.JSONField, lambda *_: []),
    (models.Field, _text),
]


def _is_key(field: Any) -> bool:
    """Whether the column, without the tenant, is what tells rows apart."""
    if field.name == "tenant":
        return False
    if field.unique:
        return True
    return any(
        field.name in constraint.fields
        and (field.name != "currency" or set(constraint.fields) == {"tenant", "currency"})
        for constraint in field.model._meta.constraints
        if isinstance(constraint, models.UniqueConstraint)
    )
