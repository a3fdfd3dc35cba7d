"""How customers become known."""

from __future__ import annotations

import pytest

from customers.contracts import ContactSaved, CustomerRegistered, SaveContact
from customers.handlers import register_guest, save_contact
from customers.models import Customer
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.messages import Message
from tests.customers.examples import ADDRESS, LOCAL, created
from tests.projecting import NOW, columns, context

SAVE = SaveContact(
    customer_id="cust-123",
    name=" Ada Lovelace ",
    email="ada@example.org",
    phone="+15550100",
    address=ADDRESS,
)
SAVED = ContactSaved(
    customer_id="cust-123",
    name="Ada Lovelace",
    email="ada@example.org",
    phone="+15550100",
    address=ADDRESS,
)
ADDRESS_COLUMN = {
    "street": "123 Main St",
    "city": "Springfield",
    "state": "IL",
    "zip_code": "62701",
    "country": "US",
}


def guest() -> Customer:
    customer = Customer(tenant="main")
    customer.record(CustomerRegistered(customer_id="cust-123", guest=True, registered_at=LOCAL))
    return customer


def test_saving_contacts_registers_an_unknown_customer() -> None:
    # when
    customer, *events = save_contact(SAVE, None, context())
    # then
    assert events == [
        CustomerRegistered(customer_id="cust-123", guest=False, registered_at=NOW),
        SAVED,
    ]
    assert isinstance(customer, Customer)
    assert columns(customer) == {
        "tenant": "main",
        "customer_id": "cust-123",
        "guest": False,
        "name": "Ada Lovelace",
        "email": "ada@example.org",
        "phone": "+15550100",
        "address": ADDRESS_COLUMN,
        "unwanted": [],
        "quiet": None,
        "registered_at": NOW,
    }


def test_a_guest_who_saves_contacts_is_no_guest_any_more() -> None:
    # given
    customer = guest()
    # when
    results = save_contact(SAVE, customer, context())
    # then
    assert results == [SAVED]
    assert not customer.guest
    assert customer.registered_at == LOCAL


def test_saving_contacts_again_replaces_all_of_them() -> None:
    # given
    customer = guest()
    save_contact(SAVE, customer, context())
    # when
    moved = SaveContact(customer_id="cust-123", name="Ada King", email="king@example.org")
    save_contact(moved, customer, context())
    # then
    assert (customer.name, customer.email, customer.phone) == ("Ada King", "king@example.org", "")
    assert customer.address is None


@pytest.mark.parametrize(("name", "email"), [(" ", "ada@example.org"), ("Ada", "")])
def test_contacts_without_name_or_email_are_refused(name: str, email: str) -> None:
    # given
    customer = guest()
    before = columns(customer)
    # when
    with pytest.raises(Invalid) as refusal:
        save_contact(
            SaveContact(customer_id="cust-123", name=name, email=email), customer, context()
        )
    # then
    assert refusal.value.field == ("email" if name == "Ada" else "name")
    assert columns(customer) == before


def test_whoever_orders_for_the_first_time_becomes_a_guest_without_contacts() -> None:
    # when
    customer, *events = register_guest(created(), None, context(minute=5))
    # then
    assert events == [CustomerRegistered(customer_id="cust-123", guest=True, registered_at=LOCAL)]
    assert isinstance(customer, Customer)
    assert columns(customer) == {
        "tenant": "main",
        "customer_id": "cust-123",
        "guest": True,
        "name": "",
        "email": "",
        "phone": "",
        "address": None,
        "unwanted": [],
        "quiet": None,
        "registered_at": LOCAL,
    }


def test_an_order_of_a_known_customer_changes_nothing_about_them() -> None:
    # given
    customer = guest()
    before = columns(customer)
    # when
    results = register_guest(created("o2"), customer, context())
    # then
    assert results == []
    assert columns(customer) == before


def test_a_customer_equals_the_fold_of_their_events() -> None:
    # given
    customer, *events = register_guest(created(), None, context())
    assert isinstance(customer, Customer)
    events += save_contact(SAVE, customer, context())
    # when
    rebuilt = Customer(tenant="main")
    for event in events:
        assert isinstance(event, Message)
        rebuilt.apply(event)
    # then
    assert columns(rebuilt) == columns(customer)
