"""A shop full of marked things, and how to look for them in what others are shown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import models
from django.test import Client

from ecommerce.api import api
from ecommerce.identity import scopes, tenants
from ecommerce.identity.models import ApiToken, Tenant, User
from ecommerce.messaging import bus
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.services import services
from inventory.contracts import CreateProduct
from notifications.models import TEMPLATES
from tests.admin import rows
from tests.journeys.audit import settle
from tests.journeys.shop import ADDRESS

VICTIM, STRANGER = "acme", "other"
SECRET = "zq7secret"
"""Stands in all texts of the victim's."""
PRODUCT, CUSTOMER = "zq7-product", "zq7-customer"
MOST = 60
"""Addresses of one operation that are tried."""
MEANT = {"tenant", "stream", "name", "handler", "headers", "currency", "status", "state", "step"}
"""Columns whose texts mean something."""


@dataclass
class Planted:
    """A row of each of the victim's tables, and its ids by what an address calls them."""

    rows: list[Any] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def take(self, row: Any) -> None:
        self.ids["letter_id" if isinstance(row, DeadLetter) else "id"].add(str(row.pk))
        for column in row._meta.concrete_fields:
            value = getattr(row, column.name)
            if value and column.name.endswith("_id") and value not in TEMPLATES:
                self.ids[column.name].add(str(value))

    def leave_out(self, row: Any) -> None:
        """Not the ids that another shop's row has as well."""
        for column in row._meta.concrete_fields:
            self.ids[column.name].discard(str(getattr(row, column.name)))

    @property
    def secrets(self) -> set[str]:
        """What nobody else is shown, unless they have said it themselves."""
        ids = set().union(*self.ids.values())
        return {SECRET, *(text for text in ids if len(text) > 8)}


def plant() -> Planted:
    """The victim's shop: an order with all that it caused, and a row of every other table."""
    for slug in (VICTIM, STRANGER):
        Tenant.objects.create(slug=slug, name=f"{slug} shop")
        tenants.forget()
        call_command("seed", tenant=slug, verbosity=0)
    User.objects.create_user(SECRET, email=f"{SECRET}@example.com", tenant_id=VICTIM)
    _order()
    planted = Planted()
    belonging: list[Any] = [*filter(has_tenant, rows.of_services()), User, ApiToken]
    for model in belonging:
        found = model._default_manager
        if not found.filter(tenant=VICTIM).exists():
            rows.make(model, tenant=VICTIM, **_marks(model))
        theirs = list(found.filter(tenant=VICTIM).order_by("pk"))
        planted.rows.append(theirs[-1])
        for row in theirs:
            planted.take(row)
    for model in filter(has_tenant, rows.of_services()):
        for row in model._default_manager.filter(tenant=STRANGER):
            planted.leave_out(row)
    return planted


def has_tenant(model: Any) -> bool:
    return hasattr(model, "tenant")


def _order() -> None:
    things = CreateProduct(
        product_id=PRODUCT,
        name=f"{SECRET} scarf",
        description=SECRET,
        price=1999,
        currency="USD",
        initial_stock=50,
    )
    bus.execute(things, tenant=VICTIM, actor="seed")
    settle()
    client = token(VICTIM)
    body = {
        "customerId": CUSTOMER,
        "items": [{"productId": PRODUCT, "quantity": 2}],
        "shippingAddress": ADDRESS | {"street": f"{SECRET} lane"},
    }
    answer = client.post(
        "/api/orders", body, content_type="application/json", headers={"Idempotency-Key": SECRET}
    )
    assert answer.status_code == 201, answer.content
    settle()


def _marks(model: Any) -> dict[str, Any]:
    """A mark in every text of a row that may be anything."""
    marks: dict[str, Any] = {}
    for column in rows._filled(model):
        if type(column) in (models.TextField, models.CharField) and column.name not in MEANT:
            room = column.max_length or 200
            if room > len(SECRET) and not rows._is_key(column):
                marks[column.name] = SECRET
    for name in ("payload", "personal", "body", "state"):
        if name in marks:
            marks[name] = json.dumps({"note": SECRET, "order_id": SECRET})
    return marks


# Visitors


def token(tenant: str, **options: Any) -> Client:
    """A program with every scope."""
    _, secret = ApiToken.issue(tenant=tenant, name="till", scopes=sorted(scopes.ALL), **options)
    # A header that only an open shop looks at.
    return Client(headers={"authorization": f"Bearer {secret}", "x-tenant": VICTIM})


def person(tenant: str, **role: Any) -> Client:
    """Somebody who signed in."""
    user = User.objects.create_user(f"{tenant}-{User.objects.count()}", tenant_id=tenant, **role)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client(headers={"x-tenant": VICTIM})
    client.force_login(user)
    return client


# The walk


def addresses(template: str, ids: dict[str, set[str]]) -> Iterator[str]:
    """An address with the victim's ids in its places: rows' own ids where none is called so."""
    names = [part.partition("}")[0] for part in template.split("{")[1:]]
    known = ids | {"service": {config.label for config in services()}}
    choices = [sorted(known.get(name) or ids["id"]) for name in names]
    for chosen in islice(product(*choices), MOST):
        yield template.format(**dict(zip(names, chosen, strict=True)))


def shown(response: Any) -> str:
    """All of an answer that a visitor can read; of an endless one the beginning."""
    content = b"".join(islice(response, 3)) if response.streaming else response.content
    return f"{content.decode(errors='replace')} {dict(response.headers)}"


def leaks(response: Any, said: str, secrets: set[str]) -> list[str]:
    """The victim's secrets in an answer to somebody who had not said them."""
    text = shown(response)
    return [secret for secret in secrets if secret in text and secret not in said]


def body_of(schema: dict[str, Any], ids: dict[str, set[str]]) -> dict[str, Any]:
    """A body that an operation takes, about the victim's things."""
    (example,) = schema.get("examples") or [{}]
    return {key: _about(key, value, ids) for key, value in example.items()}


def _about(key: str, value: Any, ids: dict[str, set[str]]) -> Any:
    if isinstance(value, dict):
        return {inner: _about(inner, each, ids) for inner, each in value.items()}
    if isinstance(value, list):
        return [_about(key, each, ids) for each in value]
    column = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
    return min(ids[column]) if ids.get(column) else value


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, address and schema of the body of every operation of the API."""
    document = api.get_openapi_schema()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
            yield method, path, schemas.get(reference.rpartition("/")[2], {})
