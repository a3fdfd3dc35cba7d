"""What inventory decides.

Orders' commands (reserve, release, commit) are answered with one event on the order's stream and
one ledger event per product on the product's stream. People's commands (catalogue and stock) are
refused when they cannot be carried out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Conflict, Invalid
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import Rows, handles

from .contracts import (
    AdjustInventory,
    CommitInventory,
    CreateProduct,
    InventoryAdjusted,
    InventoryCommitted,
    InventoryInsufficient,
    InventoryReleased,
    InventoryReserved,
    InventoryRestocked,
    ProductCreated,
    ReleaseInventory,
    ReservedLine,
    ReserveInventory,
    RestockInventory,
    Shortage,
    StockCommitted,
    StockReleased,
    StockReserved,
)
from .models import Product, Reservation, StockItem

PRODUCT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,63}")
CURRENCY = re.compile(r"[A-Z]{3}")
MOST_UNITS = 1_000_000_000
"""Units of one product that one command may add or take, and that the shop may have."""
HIGHEST_PRICE = 1_000_000_000_000

Ledger = type[StockReserved] | type[StockReleased] | type[StockCommitted]


@handles
def create_product(
    command: CreateProduct, product: Product | None, context: Context
) -> list[Message | Row]:
    """Add a product, with its first stock if there is any.

    Raises Conflict when the id is taken and Invalid for a value that no product can have.
    """
    _check_product(command)
    if product:
        raise Conflict(f"product {command.product_id} exists already", code="product-exists")
    product = Product(tenant=context.tenant)
    stock = StockItem(tenant=context.tenant)
    created = ProductCreated(
        product_id=command.product_id,
        name=command.name,
        description=command.description,
        price=command.price,
        currency=command.currency,
        image_url=command.image_url,
        created_at=context.now,
        category=command.category.strip(),
    )
    product.record(created)
    stock.record(created)
    if not command.initial_stock:
        return [product, stock, created]
    arrived = InventoryRestocked(product_id=command.product_id, quantity=command.initial_stock)
    return [product, stock, created, stock.record(arrived)]


@handles
def restock(command: RestockInventory, stock: StockItem) -> InventoryRestocked:
    """Add units. Raises Invalid unless the quantity is positive and the sum is one we can count."""
    if not 0 < command.quantity <= MOST_UNITS - stock.on_hand:
        most = MOST_UNITS - stock.on_hand
        raise Invalid(f"must be between 1 and {most}", field="quantity")
    return stock.record(
        InventoryRestocked(product_id=command.product_id, quantity=command.quantity)
    )


@handles
def adjust(command: AdjustInventory, stock: StockItem) -> InventoryAdjusted:
    """Correct the count.

    Raises Invalid for a change of nothing or without a reason, and Conflict when fewer units
    would be left than orders hold.
    """
    if not 0 < abs(command.change) <= MOST_UNITS:
        raise Invalid(f"must not be 0 or beyond {MOST_UNITS}", field="change")
    if not command.reason.strip():
        raise Invalid("must say why the count changes", field="reason")
    if stock.on_hand + command.change > MOST_UNITS:
        raise Invalid(f"must not be above {MOST_UNITS - stock.on_hand}", field="change")
    if stock.available + command.change < 0:
        raise Conflict(
            f"only {stock.available} units of {command.product_id} are not held by orders",
            code="stock-reserved",
            available=stock.available,
        )
    return stock.record(
        InventoryAdjusted(
            product_id=command.product_id, change=command.change, reason=command.reason.strip()
        )
    )


@handles
def reserve_inventory(
    command: ReserveInventory,
    stock: Rows[StockItem],
    reservation: Reservation | None,
    context: Context,
) -> list[Message | Row]:
    """Hold stock for all lines, or for none.

    An order that was answered, or released, before is left as it is.
    """
    if reservation:
        return []
    reservation = Reservation(tenant=context.tenant)
    shortages = _shortages(command.quantities, stock)
    if shortages:
        insufficient = InventoryInsufficient(order_id=command.order_id, shortages=shortages)
        return [reservation, reservation.record(insufficient)]
    lines = tuple(
        ReservedLine(line.line_id, line.product_id, line.quantity, stock[line.product_id].warehouse)
        for line in command.lines
    )
    reserved = InventoryReserved(
        order_id=command.order_id, lines=lines, expires_at=command.expires_at
    )
    return [
        reservation,
        reservation.record(reserved),
        *_move(StockReserved, command.order_id, lines, stock),
    ]


@handles
def release_inventory(
    command: ReleaseInventory,
    stock: Rows[StockItem],
    reservation: Reservation | None,
    context: Context,
) -> list[Message | Row]:
    """Give back what the order holds, once.

    For an order that has not reserved, the answer's row stands in the way of a later reservation.
    What has left the warehouse cannot be released.
    """
    if reservation is None:
        reservation = Reservation(tenant=context.tenant)
        never = InventoryReleased(order_id=command.order_id, lines=(), reason=command.reason)
        return [reservation, reservation.record(never)]
    if reservation.status != Reservation.Status.RESERVED:
        return []
    lines = reservation.held_lines
    released = InventoryReleased(order_id=command.order_id, lines=lines, reason=command.reason)
    return [
        reservation.record(released),
        *_move(StockReleased, command.order_id, lines, stock),
    ]


@handles
def commit_inventory(
    command: CommitInventory, stock: Rows[StockItem], reservation: Reservation | None
) -> list[Message]:
    """Take the order's units out of the warehouse, once; an order that holds none has none."""
    if reservation is None or reservation.status != Reservation.Status.RESERVED:
        return []
    lines = reservation.held_lines
    return [
        reservation.record(InventoryCommitted(order_id=command.order_id, lines=lines)),
        *_move(StockCommitted, command.order_id, lines, stock),
    ]


def _shortages(wanted: Counter[str], stock: Rows[StockItem]) -> tuple[Shortage, ...]:
    available = {
        product_id: stock[product_id].available if product_id in stock else 0
        for product_id in wanted
    }
    return tuple(
        Shortage(product_id, quantity, available[product_id])
        for product_id, quantity in wanted.items()
        if quantity > available[product_id]
    )


def _move(
    ledger: Ledger, order_id: str, lines: Iterable[ReservedLine], stock: Rows[StockItem]
) -> list[Message]:
    """Record one ledger event for each product and warehouse, over all its lines."""
    moved: Counter[tuple[str, str]] = Counter()
    for line in lines:
        moved[line.product_id, line.warehouse] += line.quantity
    return [
        stock[product_id].record(
            ledger(product_id=product_id, order_id=order_id, warehouse=warehouse, quantity=quantity)
        )
        for (product_id, warehouse), quantity in moved.items()
    ]


def _check_product(command: CreateProduct) -> None:
    rules = [
        (
            "product_id",
            PRODUCT_ID.fullmatch(command.product_id),
            "must be up to 64 letters, digits and . _ : @ ~ -, beginning with a letter or digit",
        ),
        (
            "name",
            command.name.strip() and len(command.name) <= 200,
            "must have 1 to 200 characters",
        ),
        ("category", len(command.category) <= 40, "must have up to 40 characters"),
        (
            "price",
            0 <= command.price <= HIGHEST_PRICE,
            f"must be between 0 and {HIGHEST_PRICE} minor units",
        ),
        (
            "currency",
            CURRENCY.fullmatch(command.currency),
            "must be a currency code of three capital letters",
        ),
        (
            "initial_stock",
            0 <= command.initial_stock <= MOST_UNITS,
            f"must be between 0 and {MOST_UNITS}",
        ),
    ]
    for field, holds, detail in rules:
        if not holds:
            raise Invalid(detail, field=field)
