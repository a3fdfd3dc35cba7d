"""What people ask of the orders service: place an order, cancel one. `saga` does the rest."""

from __future__ import annotations

from ecommerce.identity.tenants import local_time
from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Conflict, Invalid
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import Rows, handles
from ecommerce.values import Money

from . import saga
from .contracts import CancelOrder, CreateOrder, OrderCreated, OrderLine, RequestedLine, Totals
from .models import CatalogueItem, Fulfilment, Order

MOST_LINES = 100
MOST_OF_A_LINE = 1000


@handles
def create_order(
    command: CreateOrder, catalogue: Rows[CatalogueItem], order: Order | None, context: Context
) -> list[Message | Row]:
    """Place an order at the catalogue's prices and begin its fulfilment.

    Raises Invalid for a line that cannot be sold, and Conflict when the order exists or a price
    that the shopper was shown is not the price any more.
    """
    if order is not None:
        raise Conflict(f"order {command.order_id} exists already", code="order-exists")
    lines, currency = _lines(command, catalogue)
    totals = _totals(lines, currency)
    _guard_prices(command, lines, totals)
    order = Order(tenant=context.tenant)
    created = order.record(
        OrderCreated(
            order_id=command.order_id,
            customer_id=command.customer_id,
            lines=lines,
            totals=totals,
            payment_method=command.payment_method,
            created_at=local_time(context.now, context.tenant),
            shipping_address=command.shipping_address,
        )
    )
    fulfilment, reserve = saga.begin(order, context)
    return [order, fulfilment, created, reserve]


@handles
def cancel_order(
    command: CancelOrder, order: Order, fulfilment: Fulfilment, context: Context
) -> list[Message]:
    """Cancel an order, as long as the saga allows it. Raises Conflict when it does not."""
    return saga.cancel(fulfilment, order, command.reason, context)


def _lines(
    command: CreateOrder, catalogue: Rows[CatalogueItem]
) -> tuple[tuple[OrderLine, ...], str]:
    """The order's lines as they are sold now, and their one currency."""
    if not command.lines:
        raise Invalid("an order needs at least one item", field="items")
    if len(command.lines) > MOST_LINES:
        raise Invalid(f"an order has {MOST_LINES} items at most", field="items")
    sold = [_sold(number, line, catalogue) for number, line in enumerate(command.lines)]
    currency = sold[0].currency
    for number, item in enumerate(sold):
        if item.currency != currency:
            raise Invalid(
                f"product {item.product_id!r} is sold in {item.currency}, others in {currency}",
                field=f"items.{number}.productId",
                code="mixed-currencies",
            )
    lines = tuple(
        OrderLine(
            line_id=str(number),
            product_id=item.product_id,
            name=item.name,
            quantity=line.quantity,
            unit_price=item.price,
        )
        for number, (line, item) in enumerate(zip(command.lines, sold, strict=True), start=1)
    )
    return lines, currency


def _sold(number: int, line: RequestedLine, catalogue: Rows[CatalogueItem]) -> CatalogueItem:
    if not 1 <= line.quantity <= MOST_OF_A_LINE:
        raise Invalid(
            f"a quantity is between 1 and {MOST_OF_A_LINE}", field=f"items.{number}.quantity"
        )
    item = catalogue.get(line.product_id)
    if item is None or not item.active:
        raise Invalid(
            f"product {line.product_id!r} is not sold here",
            field=f"items.{number}.productId",
            code="unknown-product",
        )
    return item


def _totals(lines: tuple[OrderLine, ...], currency: str) -> Totals:
    subtotal = sum(line.line_total for line in lines)
    return Totals(
        currency=currency, subtotal=subtotal, discount=0, shipping=0, tax=0, total=subtotal
    )


def _guard_prices(command: CreateOrder, lines: tuple[OrderLine, ...], totals: Totals) -> None:
    shown = [
        (wanted.unit_price, line.unit_price)
        for wanted, line in zip(command.lines, lines, strict=True)
    ]
    shown.append((command.expected_total, totals.total))
    if all(price in (None, current) for price, current in shown):
        return
    raise Conflict(
        "prices have changed since they were shown",
        code="price-changed",
        currency=totals.currency,
        totalAmount=Money(totals.total, totals.currency).decimal(),
        items=[
            {
                "productId": line.product_id,
                "unitPrice": Money(line.unit_price, totals.currency).decimal(),
            }
            for line in lines
        ],
    )
