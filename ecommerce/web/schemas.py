"""The building blocks of request and response schemas.

In Python, amounts of money are always whole minor units; over HTTP they are numbers with two
decimals. The conversion is exact in both directions and happens only here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from ecommerce.messaging.folds import Moment, moment

LARGEST_AMOUNT = 10**12
"""In minor units: far above any order, far below what a bigint column holds."""


class Input(BaseModel):
    """What a client sends: camelCase, and nothing that we do not know."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Output(BaseModel):
    """What a client gets: camelCase, filled from a row, a struct or a dict by Python names."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(serialization_alias=to_camel), from_attributes=True
    )


def minor_units(number: Decimal | int) -> int:
    """19.99 as 1999. Raises ValueError for a fraction of a cent or an absurd size."""
    try:
        cents = Decimal(number) * 100
        if not abs(cents) <= LARGEST_AMOUNT:
            raise ValueError("This is larger than any amount of money taken here.")
        if cents != cents.to_integral_value():
            raise ValueError("An amount of money has at most two decimals.")
    except ArithmeticError:
        raise ValueError("Write an amount of money as a number such as 19.99.") from None
    return int(cents)


def _read_money(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("Write an amount of money as a number such as 19.99.")  # noqa: TRY004  pydantic reports only this kind
    cents = minor_units(value)
    if cents < 0:
        raise ValueError("An amount of money must not be negative.")
    return cents


def _show_money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


_MONEY_SCHEMA = {"type": "number", "multipleOf": 0.01, "examples": [19.99]}

MoneyIn = Annotated[
    int, BeforeValidator(_read_money), WithJsonSchema({**_MONEY_SCHEMA, "minimum": 0})
]
"""A client's number such as 19.99, as minor units. Only from JSON: a Python 5 means 5.00."""

MoneyOut = Annotated[
    int, PlainSerializer(_show_money, return_type=Decimal), WithJsonSchema(_MONEY_SCHEMA)
]
"""Minor units, shown as a number with two decimals."""

PublicId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@~-]*$"),
    WithJsonSchema(
        {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@~-]*$",
         "examples": ["cust-123"]}
    ),
]  # fmt: skip
"""An id that a client may choose, such as `prod-456`: text that is safe in a path."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
"""A short line of text that must not be empty."""


class AddressIn(Input):
    """A postal address."""

    street: Text
    city: Text
    state: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)] = ""
    zip_code: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20)]
    country: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=60)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "street": "123 Main St",
                    "city": "Springfield",
                    "state": "IL",
                    "zipCode": "62701",
                    "country": "US",
                }
            ]
        }
    )


class AddressOut(Output):
    """A postal address."""

    street: str
    city: str
    state: str
    zip_code: str
    country: str


MomentIn = Annotated[
    Moment,
    PlainValidator(moment),
    WithJsonSchema({"type": "string", "examples": ["3", "2026-03-01T12:00:00Z"]}),
]
"""A version, or an instant with its offset."""


class Between(Input):
    """Two moments, each a version or an instant."""

    begin: Annotated[MomentIn, Field(alias="from", description="The first moment.")]
    to: Annotated[MomentIn | None, Field(description="The second; now when not given.")] = None


class FieldError(Output):
    """What is wrong with one field, named by its path such as `items.0.quantity`."""

    field: str
    detail: str


class Problem(Output):
    """A problem document (RFC 9457). Some kinds have further members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    correlation_id: str | None = None
    errors: list[FieldError] | None = None
