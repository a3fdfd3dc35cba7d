"""Customers say what they want to be told, on their account's page; and that is what they are told."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from customers.contracts import ChooseNotices, Notice, NoticesChosen, QuietHours
from customers.handlers import choose_notices
from customers.models import Customer
from ecommerce.identity.models import User
from ecommerce.messaging.errors import Invalid
from ecommerce.web import consistency
from notifications.models import Contact, Notification
from tests.customers.shelves import add, check_out, deliver, page, stock_shelves
from tests.customers.test_contacts import guest
from tests.customers.test_shop_account import sign_up
from tests.projecting import columns

NIGHT = QuietHours(begin=22, end=8, zone="Europe/Berlin")
BOTH: tuple[Notice, ...] = ("payment_receipt.email", "shipment.sms")
FORM = "/shop/account/notices"


def choose(*unwanted: Notice, quiet: QuietHours | None = None) -> ChooseNotices:
    return ChooseNotices(customer_id="cust-123", unwanted=unwanted, quiet=quiet)


def test_what_is_not_wanted_is_kept() -> None:
    # given
    customer = guest()
    # when
    chosen = choose_notices(choose("shipment.sms", *BOTH, quiet=NIGHT), customer)
    # then
    assert chosen == NoticesChosen(customer_id="cust-123", unwanted=BOTH, quiet=NIGHT)
    assert customer.unwanted == list(BOTH)
    assert customer.quiet == {"begin": 22, "end": 8, "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    "quiet",
    [
        QuietHours(begin=8, end=8, zone="UTC"),
        QuietHours(begin=-1, end=8, zone="UTC"),
        QuietHours(begin=22, end=24, zone="UTC"),
        QuietHours(begin=22, end=8, zone="Atlantis"),
        QuietHours(begin=22, end=8, zone="../../etc/passwd"),
        QuietHours(begin=22, end=8, zone=""),
    ],
)
def test_hours_that_are_none_are_refused(quiet: QuietHours) -> None:
    # given
    customer = guest()
    before = columns(customer)
    # when
    with pytest.raises(Invalid) as refusal:
        choose_notices(choose(quiet=quiet), customer)
    # then
    assert refusal.value.field == "quiet"
    assert columns(customer) == before


@pytest.fixture
def shelves(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "WAIT_SECONDS", 0.0)
    stock_shelves()


@pytest.fixture
def kim(shelves: None) -> Client:
    """A customer with an account."""
    client = Client()
    sign_up(client)
    return client


def test_everything_is_told_until_something_is_chosen(kim: Client) -> None:
    text = page(kim, "/shop/account")

    assert text.count('type="checkbox"') == text.count(" checked>") == 2
    assert "confirmation always comes" in text


def test_a_choice_is_saved_and_shown(kim: Client) -> None:
    # when
    chosen = {"wanted": "shipment.sms", "quiet_from": "22", "quiet_until": "7"}
    answer = kim.post(FORM, chosen, follow=True)
    # then
    assert "Saved." in answer.content.decode()
    customer = Customer.objects.get()
    assert customer.unwanted == ["payment_receipt.email"]
    assert customer.quiet == {"begin": 22, "end": 7, "zone": "UTC"}
    text = page(kim, "/shop/account")
    assert 'value="shipment.sms" checked' in text
    assert 'value="payment_receipt.email" checked' not in text
    assert '<option value="22" selected>' in text
    # and the service that tells them knows
    deliver()
    contact = Contact.objects.get()
    assert (contact.unwanted, contact.quiet) == (customer.unwanted, customer.quiet)
    assert contact.name == "Kim Doe"


@pytest.mark.parametrize(
    "fields",
    [
        {"quiet_from": "22"},
        {"quiet_until": "7"},
        {"quiet_from": "7", "quiet_until": "7"},
        {"quiet_from": "25", "quiet_until": "7"},
        {"wanted": "order_confirmation.email"},
    ],
)
def test_what_makes_no_sense_is_refused(kim: Client, fields: dict[str, str]) -> None:
    answer = kim.post(FORM, fields)

    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()
    assert Customer.objects.get().unwanted == []


def test_saving_contacts_leaves_the_choice_as_it_is(kim: Client) -> None:
    kim.post(FORM, {})
    kim.post("/shop/account", {"name": "Kim", "email": "kim@example.test", "street": "Pier 1",
                               "zip_code": "1", "city": "Tide", "country": "US"})  # fmt: skip
    deliver()

    assert Customer.objects.get().name == "Kim"
    assert set(Customer.objects.get().unwanted) == set(Contact.objects.get().unwanted) == set(BOTH)


def test_only_somebody_known_chooses(shelves: None) -> None:
    stranger, staff = Client(), Client()
    staff.force_login(User.objects.create_user("s", is_staff=True, tenant_id="main"))

    assert stranger.post(FORM, {}).headers["Location"].startswith("/shop/sign-in")
    assert staff.post(FORM, {}).status_code == 404
    assert staff.get(FORM).status_code == 405
    assert Client(enforce_csrf_checks=True).post(FORM, {}).status_code in (302, 403)


def test_an_order_of_somebody_who_wants_nothing_is_confirmed_and_that_is_all(kim: Client) -> None:
    # given
    kim.post(FORM, {})
    deliver()
    # when
    add(kim)
    check_out(kim)
    deliver()
    # then
    told: dict[str, Any] = dict(Notification.objects.values_list("notification_type", "status"))
    assert told == {
        "order_confirmation": "Sent",
        "payment_receipt": "Unwanted",
        "shipment": "Unwanted",
    }
