"""A small shop whose orders run through all services, for the operators' tools."""

from __future__ import annotations

from collections.abc import Mapping

from ecommerce.messaging.bus import execute
from ecommerce.messaging.worker import Worker
from ecommerce.values import Address
from orders.contracts import CreateOrder, RequestedLine
from tests.messaging.examples import create_product

ADDRESS = Address("12 Harbor Street", "Springfield", "IL", "62701", "US")
PATIENCE = 30.0


def settle() -> None:
    """Let a worker do all that can be done now."""
    Worker().drain(PATIENCE)


def open_shop(stock: int = 100) -> None:
    """Sell a mouse and a desk."""
    for product_id in ("mouse", "desk"):
        create_product(product_id, stock)
    settle()


def place(
    order_id: str,
    lines: Mapping[str, int] | None = None,
    *,
    customer: str = "cust-1",
    card: str = "card_approved",
    address: Address | None = ADDRESS,
    tenant: str = "main",
) -> None:
    """Place an order, which nobody works on yet."""
    wanted = tuple(
        RequestedLine(product_id=product_id, quantity=quantity)
        for product_id, quantity in (lines or {"mouse": 2}).items()
    )
    command = CreateOrder(
        order_id=order_id,
        customer_id=customer,
        lines=wanted,
        payment_method=card,
        shipping_address=address,
    )
    execute(command, tenant=tenant, actor=f"user:{customer}")
