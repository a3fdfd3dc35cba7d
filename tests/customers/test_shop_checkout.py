"""From a cart to an order: once, at the price that was shown, for whoever may see it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries

from customers.models import Cart, Customer, OrderSummary
from ecommerce.identity.models import Tenant, User
from ecommerce.messaging import bus
from ecommerce.web import consistency
from inventory.contracts import AdjustInventory
from orders.models import CatalogueItem, Order
from tests.customers.shelves import (
    DETAILS,
    SCARF,
    add,
    check_out,
    deliver,
    form_of,
    page,
    stock_shelves,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _shelves(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody delivers while a page waits for a read model: the tests say when.
    monkeypatch.setattr(consistency, "WAIT_SECONDS", 0.0)
    stock_shelves()


@pytest.fixture
def guest() -> Client:
    """Somebody with a scarf in the cart."""
    client = Client()
    add(client)
    return client


def signed_in(customer_id: str = "cust-1", **more: Any) -> Client:
    """Somebody with an account."""
    client = Client()
    user = User.objects.create_user(
        username=customer_id or "staff", customer_id=customer_id, tenant_id="main", **more
    )
    client.force_login(user)
    return client


def test_a_guest_orders_and_follows_it(guest: Client) -> None:
    # when
    address = check_out(guest)
    before = page(guest, address)
    deliver()
    after = page(guest, address)
    # then
    assert "We have your order" in before
    assert before.count('data-state="done"') == 1
    assert "It is on its way" in after
    assert after.count('data-state="done"') == 4
    order = Order.objects.get()
    assert (order.status, order.total, order.payment_method) == ("Shipped", 1999, "card_approved")
    assert order.customer_id.startswith("guest-")
    assert order.shipping_address == {
        "street": "12 Harbor Street",
        "city": "Springfield",
        "state": "IL",
        "zip_code": "62701",
        "country": "US",
    }
    assert Customer.objects.get().email == "robin@example.test"
    assert Cart.objects.get().lines == []


def test_a_guest_finds_their_orders_again(guest: Client) -> None:
    address = check_out(guest)
    deliver()

    assert "Club Scarf" in page(guest, "/shop/orders")
    assert "It is on its way" in page(guest, address.partition("?")[0])


def test_whoever_has_the_address_sees_it_and_nobody_else(guest: Client) -> None:
    # given
    address = check_out(guest)
    deliver()
    bare, _, key = address.partition("?")
    # then
    assert Client().get(address).status_code == 200
    for client in (Client(), signed_in("cust-9")):
        assert client.get(bare).status_code == 404
        assert client.get(f"{bare}?key=").status_code == 404
        assert client.get(f"{bare}?{key}x").status_code == 404
        assert client.post(f"{bare}/cancel").status_code == 404
        assert client.post(f"{bare}/again").status_code == 404
    assert Client().get(f"/shop/orders/unknown?{key}").status_code == 404


def test_staff_see_every_order_of_their_shop_only(guest: Client) -> None:
    # given
    address = check_out(guest).partition("?")[0]
    deliver()
    Tenant.objects.create(slug="other", name="Other")
    elsewhere = Client()
    elsewhere.force_login(User.objects.create_user("e", is_staff=True, tenant_id="other"))
    # then
    assert signed_in("", is_staff=True).get(address).status_code == 200
    assert elsewhere.get(address).status_code == 404


def test_a_customer_orders_with_what_is_known_of_them() -> None:
    # given
    client = signed_in("cust-1", email="kim@example.test")
    add(client)
    # when
    check_out(client, name="Kim Doe", email="kim@example.test")
    deliver()
    add(client)
    text = page(client, "/shop/checkout")
    # then
    assert Order.objects.get().customer_id == "cust-1"
    assert 'value="Kim Doe"' in text
    assert 'value="12 Harbor Street"' in text
    assert "Club Scarf" in page(client, "/shop/orders")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("email", "nobody"),
        ("street", ""),
        ("country", "x"),
        ("card", "card_of_mine"),
        ("token", "1"),
        ("total", ""),
        ("name", "a\0b"),
    ],
)
def test_what_is_missing_is_asked_for_and_nothing_is_ordered(
    guest: Client, field: str, value: str
) -> None:
    answer = guest.post("/shop/checkout", form_of(guest) | {field: value})

    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()
    assert not Order.objects.exists()
    assert not Customer.objects.exists()


def test_a_price_that_changed_is_shown_before_anything_is_ordered(guest: Client) -> None:
    # given
    form = form_of(guest)
    CatalogueItem.objects.filter(product_id=SCARF).update(price=2500)
    # when
    answer = guest.post("/shop/checkout", form)
    # then
    assert answer.status_code == 409
    assert "The price has changed" in answer.content.decode()
    assert not Order.objects.exists()
    assert Cart.objects.get().quantities == {SCARF: 1}


def test_the_same_form_again_leads_to_the_same_order(guest: Client) -> None:
    form = form_of(guest)

    answers = [guest.post("/shop/checkout", form) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {302}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert Order.objects.count() == 1


def test_the_same_form_with_other_details_orders_nothing_more(guest: Client) -> None:
    form = form_of(guest)
    guest.post("/shop/checkout", form)
    add(guest)

    answer = guest.post("/shop/checkout", form | {"city": "Elsewhere"}, follow=True)

    assert "Nothing was ordered" in answer.content.decode()
    assert Order.objects.count() == 1


def click_at_once(client: Client, times: int = 4) -> set[str]:
    """Where so many clicks on one form lead."""
    form, start = form_of(client), Barrier(times)

    def click() -> str:
        start.wait()
        try:
            mine = Client()
            mine.cookies = client.cookies
            answer = mine.post("/shop/checkout", form)
            return str(answer.headers.get("Location", answer.status_code))
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return {done.result() for done in [pool.submit(click) for _ in range(times)]}


@contextmanager
def a_guest_who_ordered_before(client: Client) -> Iterator[Client]:
    """Their session has its customer id, so that all clicks come from one customer."""
    check_out(client)
    Order.objects.all().delete()
    add(client)
    yield client


def test_clicks_at_the_same_time_place_one_order(guest: Client) -> None:
    with a_guest_who_ordered_before(guest) as client:
        addresses = click_at_once(client)

    assert len(addresses) == 1
    assert "/shop/orders/" in addresses.pop()
    assert Order.objects.count() == 1


def test_control_without_the_key_every_click_places_one(
    guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given clicks that are not known to be the same, which all see the cart before it is emptied
    execute, all_of_them = bus.execute, Barrier(4, timeout=20)

    def forgetful(command: Any, **options: Any) -> Any:
        if type(command).__name__ == "CreateOrder":
            all_of_them.wait()
            options["idempotency"] = None
        return execute(command, **options)

    with a_guest_who_ordered_before(guest) as client:
        monkeypatch.setattr(bus, "execute", forgetful)
        addresses = click_at_once(client)

    assert len(addresses) == 4
    assert Order.objects.count() == 4


def test_an_empty_cart_cannot_be_checked_out() -> None:
    client = Client()

    assert client.get("/shop/checkout").headers["Location"] == "/shop/cart"
    form = {**DETAILS, "token": "0d0a9ee1-2f3d-4c55-8a41-3f4a4f2f0a11", "total": "0"}
    answer = client.post("/shop/checkout", form, follow=True)
    assert "Nothing was ordered" in answer.content.decode()
    assert not Order.objects.exists()


def test_a_declined_card_is_told_and_the_goods_can_be_had_again(guest: Client) -> None:
    # given
    address = check_out(guest, card="card_declined")
    deliver()
    # when
    text = page(guest, address)
    guest.post(f"{address.partition('?')[0]}/again")
    # then
    assert "The card was declined." in text
    assert "Your card was not charged." in text
    assert text.count('data-state="failed"') == 1
    assert Cart.objects.get().quantities == {SCARF: 1}


def test_what_somebody_else_bought_meanwhile_cancels_the_order(guest: Client) -> None:
    # given
    form = form_of(guest)
    gone = AdjustInventory(product_id=SCARF, change=-5, reason="sold elsewhere")
    bus.execute(gone, tenant="main", actor="test")
    # when
    address = guest.post("/shop/checkout", form).headers["Location"]
    deliver()
    # then
    assert "We had too few left" in page(guest, address)
    assert "Sold out" in page(guest, f"/shop/products/{SCARF}")


def test_an_order_is_cancelled_on_its_page_until_it_is_shipped(guest: Client) -> None:
    # given
    address = check_out(guest)
    bare, _, key = address.partition("?key=")
    stranger = Client()
    # when
    answer = stranger.post(f"{bare}/cancel", {"key": key}, follow=True)
    deliver()
    # then
    assert "We are cancelling your order" in answer.content.decode()
    assert "You cancelled it." in page(stranger, address)
    late = stranger.post(f"{bare}/cancel", {"key": key}, follow=True)
    assert "cannot be cancelled any more" in late.content.decode()
    assert Order.objects.get().status == "Cancelled"


def test_the_goods_are_held_for_a_quarter_of_an_hour(guest: Client) -> None:
    address = check_out(guest)
    deliver()
    OrderSummary.objects.update(status="Reserved", created_at="2026-03-01T12:26:00Z")

    assert "Held for you until" in (text := page(guest, address))
    assert ">12:41<" in text


def test_the_pages_take_few_queries(
    guest: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(6):
        page(guest, reverse("shop-checkout"))
    address = check_out(guest)
    deliver()
    with django_assert_max_num_queries(6):
        page(guest, address)
    with django_assert_max_num_queries(6):
        page(guest, "/shop/orders")
