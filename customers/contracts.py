"""Messages that the customers service owns. All are ordered by the customer."""

from __future__ import annotations

from datetime import datetime

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
