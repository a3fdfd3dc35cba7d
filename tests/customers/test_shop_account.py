"""Accounts: what a guest did is theirs once they sign up, and the cart follows whoever signs in."""

from __future__ import annotations

import pytest
from django.test import Client

from customers.models import Cart, Customer
from ecommerce.identity.models import User
from ecommerce.web import consistency
from orders.models import Order
from tests.customers.shelves import DETAILS, HOODIE, SCARF, add, check_out, page, stock_shelves

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a tide of events"
NEW = {"name": "Kim Doe", "email": "kim@example.test", "password": PASSWORD}


@pytest.fixture(autouse=True)
def _shelves(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "WAIT_SECONDS", 0.0)
    stock_shelves()


def sign_in(client: Client, email: str = "kim@example.test", password: str = PASSWORD) -> int:
    fields = {"username": email, "password": password}
    return client.post("/shop/sign-in", fields).status_code


def sign_up(client: Client, **changes: str) -> int:
    return client.post("/shop/sign-up", NEW | changes).status_code


def test_a_new_account_is_a_customer_with_contacts() -> None:
    client = Client()

    assert sign_up(client) == 302

    user, customer = User.objects.get(), Customer.objects.get()
    assert user.customer_id == customer.customer_id
    assert (customer.name, customer.email, customer.guest) == ("Kim Doe", "kim@example.test", False)
    assert user.scopes() == {"orders:read", "orders:write", "customers:read"}
    assert "Kim Doe" in page(client, "/shop/account")


def test_what_a_guest_ordered_and_put_into_the_cart_is_theirs_after_signing_up() -> None:
    # given
    client = Client()
    add(client)
    check_out(client)
    add(client, HOODIE)
    # when
    sign_up(client)
    # then
    user, order = User.objects.get(), Order.objects.get()
    assert user.customer_id == order.customer_id
    assert "Match Day Hoodie" in page(client, "/shop/cart")


def test_the_guests_cart_is_added_to_the_customers_once() -> None:
    # given
    at_home, on_the_road = Client(), Client()
    sign_up(at_home)
    add(at_home, SCARF, 1)
    add(on_the_road, SCARF, 2)
    add(on_the_road, HOODIE, 1)
    # when
    assert sign_in(on_the_road) == 302
    # then
    mine = Cart.objects.get(cart_id__startswith="customer-")
    left = Cart.objects.exclude(pk=mine.pk).get()
    assert mine.quantities == {SCARF: 3, HOODIE: 1}
    assert left.quantities == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "This field is required"),
        ({"email": "nobody"}, "Enter a valid email address"),
        ({"password": "12345678"}, "too common"),
        ({"password": "short"}, "too short"),
        ({"password": "kim@example.test"}, "too similar"),
    ],
)
def test_an_account_that_cannot_be_is_not_made(changes: dict[str, str], words: str) -> None:
    answer = Client().post("/shop/sign-up", NEW | changes)

    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not User.objects.exists()
    assert not Customer.objects.exists()


def test_an_address_has_one_account() -> None:
    sign_up(Client())

    answer = Client().post("/shop/sign-up", NEW | {"email": "KIM@example.test"})

    assert "There is an account with this address" in answer.content.decode()
    assert User.objects.count() == 1


def test_a_wrong_password_is_not_let_in() -> None:
    sign_up(Client())
    client = Client()

    assert sign_in(client, password="wrong") == 422
    assert client.get("/shop/account").status_code == 302


def test_nobody_is_led_elsewhere_after_signing_in() -> None:
    sign_up(Client())
    fields = {"username": "kim@example.test", "password": PASSWORD}

    away = Client().post("/shop/sign-in", fields | {"next": "https://example.test/"})
    here = Client().post("/shop/sign-in", fields | {"next": "/shop/checkout"})

    assert away.headers["Location"] == "/shop/"
    assert here.headers["Location"] == "/shop/checkout"


def test_contacts_are_changed() -> None:
    client = Client()
    sign_up(client)
    contacts = {name: value for name, value in DETAILS.items() if name != "card"}

    answer = client.post("/shop/account", contacts, follow=True)

    assert "Saved." in answer.content.decode()
    customer = Customer.objects.get()
    assert customer.name == "Robin Carter"
    assert customer.address is not None
    assert customer.address["city"] == "Springfield"


def test_after_signing_out_nothing_of_them_is_left() -> None:
    client = Client()
    sign_up(client)
    add(client)

    client.post("/shop/sign-out")

    assert "Your cart is empty" in page(client, "/shop/cart")
    assert client.get("/shop/orders").headers["Location"].startswith("/shop/sign-in")


def test_staff_without_a_customer_have_an_account_page_that_says_so() -> None:
    client = Client()
    client.force_login(User.objects.create_user("s", is_staff=True, tenant_id="main"))

    assert "belongs to staff" in page(client, "/shop/account")
    assert "No orders yet" in page(client, "/shop/orders")
