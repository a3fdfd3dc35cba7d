"""Messages that the customers service owns, ordered by the customer or the cart they are about."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from ecommerce.messaging.messages import Message, Personal, command, event
from ecommerce.values import Address


@command(stream="customer_id", person="customer_id")
class SaveContact(Message):
    """Set a customer's name and contacts; makes the customer known if they were not."""

    customer_id: str
    name: Personal[str]
    email: Personal[str]
    phone: Personal[str] = ""
    address: Personal[Address | None] = None


@event(stream="customer_id")
class CustomerRegistered(Message):
    """A customer is known: by their first order as a guest, or by their contacts."""

    customer_id: str
    guest: bool
    registered_at: datetime


@event(stream="customer_id", person="customer_id")
class ContactSaved(Message):
    """How the customer can be reached from now on."""

    customer_id: str
    name: Personal[str]
    email: Personal[str]
    phone: Personal[str] = ""
    address: Personal[Address | None] = None


Notice = Literal["payment_receipt.email", "shipment.sms"]
"""What a customer may do without: a kind of notification, and the channel that it comes by. The
confirmation of an order is none of these, since the shop must send it."""


class QuietHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From one full hour of the day, 0 to 23, until another, in a time zone such as `Europe/Berlin`."""

    begin: int
    end: int
    zone: str


@command(stream="customer_id")
class ChooseNotices(Message):
    """Set what a customer does not want to be told, and when no text messages may come."""

    customer_id: str
    unwanted: tuple[Notice, ...]
    quiet: QuietHours | None = None


@event(stream="customer_id")
class NoticesChosen(Message):
    """What the customer does not want to be told, and when no text messages may come."""

    customer_id: str
    unwanted: tuple[Notice, ...]
    quiet: QuietHours | None = None


class CartLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product in a cart, and how many."""

    product_id: str
    quantity: int


@command(stream="cart_id")
class AddToCart(Message):
    """Put these into a cart, beside what is in it."""

    cart_id: str
    lines: tuple[CartLine, ...]

    @property
    def product_ids(self) -> list[str]:
        return [line.product_id for line in self.lines]


@command(stream="cart_id")
class SetQuantity(Message):
    """Have so many of a product in a cart from now on; none takes it out."""

    cart_id: str
    product_id: str
    quantity: int


@command(stream="cart_id")
class EmptyCart(Message):
    """Take everything out: it was ordered, or moved to another cart."""

    cart_id: str


@event(stream="cart_id")
class CartChanged(Message):
    """What is in a cart from now on."""

    cart_id: str
    lines: tuple[CartLine, ...]
