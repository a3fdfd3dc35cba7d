"""Money is exact in both directions, and names are what clients and Python expect."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ecommerce.web import AddressIn, Input, MoneyIn, MoneyOut, Output, minor_units
from ecommerce.web.rendering import from_json, to_json
from ecommerce.web.schemas import LARGEST_AMOUNT


class Price(Input):
    unit_price: MoneyIn


class Total(Output):
    total_amount: MoneyOut


@given(st.integers(0, LARGEST_AMOUNT))
def test_an_amount_survives_the_way_out_and_in_again(cents: int) -> None:
    shown = to_json(Total(total_amount=cents))
    read = Price.model_validate({"unitPrice": from_json(shown)["totalAmount"]})

    assert read.unit_price == cents


@pytest.mark.parametrize(
    ("cents", "text"),
    [(3998, b"39.98"), (4000, b"40.00"), (5, b"0.05"), (0, b"0.00"), (-250, b"-2.50")],
)
def test_an_amount_is_shown_with_two_decimals(cents: int, text: bytes) -> None:
    assert to_json(Total(total_amount=cents)) == b'{"totalAmount":' + text + b"}"


@pytest.mark.parametrize(
    ("text", "cents"),
    [("19.99", 1999), ("20", 2000), ("1.1", 110), ("1e1", 1000), ("0", 0), ("-0.0", 0)],
)
def test_a_json_number_is_read_without_rounding(text: str, cents: int) -> None:
    assert Price.model_validate({"unitPrice": from_json(text.encode())}).unit_price == cents


@pytest.mark.parametrize(
    "text", ["0.001", "1e-9", "-0.01", "1e400", '"1.00"', "true", "null", "[1]"]
)
def test_what_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Price.model_validate({"unitPrice": from_json(text.encode())})


@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999")])
def test_absurd_numbers_are_refused(number: Decimal) -> None:
    with pytest.raises(ValueError, match="amount"):
        minor_units(number)


def test_an_address_is_read_in_camel_case_and_trimmed() -> None:
    address = AddressIn.model_validate(
        {"street": " 1 High St ", "city": "Bath", "zipCode": "BA1", "country": "GB"}
    )

    assert (address.street, address.zip_code, address.state) == ("1 High St", "BA1", "")
