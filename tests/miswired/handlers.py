"""A second handler of a command, and one of no service."""

from __future__ import annotations

from ecommerce.messaging.registry import handles
from orders.contracts import CancelOrder, OrderReserved
from tests.messaging.steps import in_service


@handles
@in_service("orders")
def cancel_twice(command: CancelOrder) -> None: ...


@handles
@in_service("billing")
def bill(event: OrderReserved) -> None: ...
