"""A small shop: three products, delivered to everyone, and people who visit it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.test import Client
from django.urls import reverse

from ecommerce.messaging import bus
from ecommerce.messaging.worker import Worker
from inventory.contracts import CreateProduct

T = TypeVar("T")
PATIENCE = 20.0
SCARF, HOODIE, FLAG = "prod-456", "prod-103", "prod-110"
DETAILS = {
    "name": "Robin Carter",
    "email": "robin@example.test",
    "phone": "",
    "street": "12 Harbor Street",
    "zip_code": "62701",
    "city": "Springfield",
    "state": "IL",
    "country": "US",
    "card": "card_approved",
}


def until(condition: Callable[[], T]) -> T:
    """Poll until something is true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.01)
    return found


def product(product_id: str, name: str, price: int, **more: Any) -> CreateProduct:
    fields = {"description": f"What a {name} is.", "currency": "USD", "initial_stock": 5, **more}
    return CreateProduct(product_id=product_id, name=name, price=price, **fields)


def stock_shelves(*products: CreateProduct, tenant: str = "main") -> None:
    """Create products, and let everybody hear of them."""
    for command in products or (
        product(SCARF, "Club Scarf", 1999, category="Match day"),
        product(HOODIE, "Match Day Hoodie", 6450, category="Clothing"),
        product(FLAG, "Supporter Flag", 1850, category="Match day", initial_stock=0),
    ):
        bus.execute(command, tenant=tenant, actor="test")
    deliver()


def deliver() -> None:
    Worker().drain(10)


def page(client: Client, address: str, **query: str) -> str:
    """A page that is there."""
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def add(client: Client, product_id: str = SCARF, quantity: int = 1) -> Any:
    fields = {"product": product_id, "quantity": quantity}
    return client.post(reverse("shop-cart-add"), fields)


def form_of(client: Client) -> dict[str, str]:
    """The checkout's fields, filled in."""
    text = page(client, reverse("shop-checkout"))
    hidden = dict(re.findall(r'<input type="hidden" name="(token|total)" value="([^"]*)"', text))
    assert set(hidden) == {"token", "total"}
    return {**DETAILS, **hidden}


def check_out(client: Client, **changes: str) -> str:
    """Order what is in the cart; the address of the order's page."""
    answer = client.post(reverse("shop-checkout"), form_of(client) | changes)
    assert answer.status_code == 302, answer.content.decode()
    return str(answer.headers["Location"])
