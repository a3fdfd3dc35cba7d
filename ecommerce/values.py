"""Values that cross service boundaries: money and postal addresses.

Both are frozen structs, so they may stand inside message contracts.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

MINOR_UNITS = 100


class CurrencyMismatch(ValueError):
    """Amounts of different currencies cannot be added or compared."""


class Money(msgspec.Struct, frozen=True):
    """An amount in minor units (cents) of one ISO 4217 currency; never a float."""

    amount: int
    currency: str

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __mul__(self, times: int) -> Money:
        return Money(self.amount * times, self.currency)

    def __str__(self) -> str:
        return f"{self.decimal():.2f} {self.currency}"

    def decimal(self) -> Decimal:
        """The amount in major units, as shown to people and over HTTP."""
        return Decimal(self.amount) / MINOR_UNITS

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return other.amount


class Address(msgspec.Struct, frozen=True):
    """A postal address as a customer gives it. Personal data."""

    street: str
    city: str
    state: str
    zip_code: str
    country: str
