"""What the orders API takes and gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from ecommerce.messaging.folds import Past
from ecommerce.values import Address, Money
from ecommerce.web import AddressIn, AddressOut, Input, MoneyIn, MoneyOut, Output, PublicId

from .contracts import CreateOrder, RequestedLine
from .handlers import MOST_LINES, MOST_OF_A_LINE
from .models import Order
from .queries import HistoryEntry


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("Only printable characters, please.")
    return text


CustomerId = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    AfterValidator(_printable),
]

Instant = Annotated[datetime, AfterValidator(lambda instant: instant.astimezone(UTC))]


class NewLine(Input):
    """A product that is wanted. With `unitPrice` the order is refused when the price differs."""

    product_id: PublicId
    quantity: Annotated[int, Field(strict=True, ge=1, le=MOST_OF_A_LINE)]
    unit_price: MoneyIn | None = None


class NewOrder(Input):
    """An order to be placed. With `expectedTotal` it is refused when the total differs."""

    customer_id: CustomerId
    items: Annotated[list[NewLine], Field(min_length=1, max_length=MOST_LINES)]
    shipping_address: AddressIn | None = None
    expected_total: MoneyIn | None = None
    payment_method: PublicId = "card_approved"

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customerId": "cust-123",
                    "items": [{"productId": "prod-456", "quantity": 2, "unitPrice": 19.99}],
                    "shippingAddress": {
                        "street": "123 Main St",
                        "city": "Springfield",
                        "state": "IL",
                        "zipCode": "62701",
                        "country": "US",
                    },
                }
            ]
        }
    )

    def command(self, order_id: str) -> CreateOrder:
        """The command that places this order under the given id."""
        address = self.shipping_address
        return CreateOrder(
            order_id=order_id,
            customer_id=self.customer_id,
            lines=tuple(
                RequestedLine(
                    product_id=line.product_id,
                    quantity=line.quantity,
                    unit_price=line.unit_price,
                )
                for line in self.items
            ),
            expected_total=self.expected_total,
            payment_method=self.payment_method,
            shipping_address=None if address is None else Address(**address.model_dump()),
        )


class LineOut(Output):
    """A line of an order, as it was sold."""

    line_id: str
    product_id: str
    name: str
    quantity: int
    unit_price: MoneyOut
    line_total: MoneyOut


class TotalsOut(Output):
    """What an order costs."""

    subtotal: MoneyOut
    discount: MoneyOut
    shipping: MoneyOut
    tax: MoneyOut
    total: MoneyOut


class OrderOut(Output):
    """An order."""

    order_id: str
    customer_id: str
    status: str
    items: Annotated[list[LineOut], Field(validation_alias="order_lines")]
    total_amount: Annotated[MoneyOut, Field(validation_alias="total")]
    currency: str
    totals: TotalsOut
    shipping_address: Annotated[AddressOut | None, Field(validation_alias="address")]
    created_at: Instant


class HistoryEntryOut(Output):
    """An event of an order: what happened, when, by whom, and its fields."""

    version: int
    event: str
    recorded_at: Instant
    actor: str
    fields: dict[str, Any]


class HistoryOut(Output):
    """All events of an order, oldest first."""

    order_id: str
    items: list[HistoryEntryOut]

    @classmethod
    def of(cls, order_id: str, history: list[HistoryEntry]) -> HistoryOut:
        return cls(
            order_id=order_id,
            items=[
                HistoryEntryOut(
                    version=entry.version,
                    event=entry.event,
                    recorded_at=entry.recorded_at,
                    actor=entry.actor,
                    fields=_public(entry.fields),
                )
                for entry in history
            ],
        )


class ChangeOut(Output):
    """A field that two moments differ in."""

    field: str
    before: Any
    after: Any


class OrderDiffOut(Output):
    """What is different about an order after one of its events than after another."""

    order_id: str
    from_version: int
    to_version: int
    changes: list[ChangeOut]

    @classmethod
    def of(
        cls,
        order_id: str,
        before: Past[Order],
        after: Past[Order],
        columns: dict[str, tuple[Any, Any]],
    ) -> OrderDiffOut:
        old, new = (
            _public({name: pair[side] for name, pair in columns.items()}) for side in (0, 1)
        )
        return cls(
            order_id=order_id,
            from_version=before.version,
            to_version=after.version,
            changes=[ChangeOut(field=name, before=old[name], after=new[name]) for name in old],
        )


_AMOUNTS = {"unit_price", "subtotal", "discount", "shipping", "tax", "total"}


def _public(value: Any) -> Any:
    """An event's fields in the API's names and with its form of money."""
    if isinstance(value, list):
        return [_public(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        "items" if name == "lines" else to_camel(name): (
            Money(item, "").decimal() if name in _AMOUNTS else _public(item)
        )
        for name, item in value.items()
    }
