"""The cart: its rules, and its pages."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from customers.contracts import AddToCart, CartLine, EmptyCart, SetQuantity
from customers.handlers import MOST_OF_A_PRODUCT, MOST_PRODUCTS, add_to_cart, set_quantity
from customers.models import Cart, Product
from ecommerce.messaging import bus, delivery
from ecommerce.messaging.errors import Invalid, NotFound
from ecommerce.messaging.folds import fold_differences
from ecommerce.messaging.registry import Rows
from ecommerce.messaging.rows import Statement, Table
from tests.customers.shelves import FLAG, HOODIE, SCARF, add, page, stock_shelves
from tests.projecting import NOW, context

ONE = CartLine(SCARF, 1)


def cart(**quantities: int) -> Cart:
    lines = [{"product_id": name, "quantity": count} for name, count in quantities.items()]
    return Cart(tenant="main", cart_id="c1", lines=lines)


def on_the_shelf(*names: str) -> Rows[Product]:
    return Rows({name: Product(product_id=name, created_at=NOW) for name in names})


def adding(**quantities: int) -> AddToCart:
    lines = tuple(CartLine(name, count) for name, count in quantities.items())
    return AddToCart(cart_id="c1", lines=lines)


def test_the_first_thing_makes_a_cart() -> None:
    row, changed = add_to_cart(adding(scarf=2), None, on_the_shelf("scarf"), context())

    assert isinstance(row, Cart)
    assert row.quantities == {"scarf": 2}
    assert changed.lines == (CartLine("scarf", 2),)  # type: ignore[union-attr]


def test_more_of_the_same_adds_up_to_the_most() -> None:
    row = cart(scarf=2, flag=1)

    (changed,) = add_to_cart(adding(scarf=98), row, on_the_shelf("scarf"), context())

    assert changed.lines == (CartLine("scarf", MOST_OF_A_PRODUCT), CartLine("flag", 1))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("command", "shelf", "error"),
    [
        (adding(ghost=1), on_the_shelf("scarf"), NotFound),
        (adding(scarf=1), Rows({"scarf": Product(product_id="scarf")}), NotFound),
        (adding(scarf=0), on_the_shelf("scarf"), Invalid),
        (adding(scarf=-5), on_the_shelf("scarf"), Invalid),
        (
            adding(**{f"p{n}": 1 for n in range(MOST_PRODUCTS)}),
            on_the_shelf(*(f"p{n}" for n in range(MOST_PRODUCTS))),
            Invalid,
        ),
    ],
    ids=["unknown", "not created", "none", "negative", "too many"],
)
def test_what_cannot_be_bought_stays_out(
    command: AddToCart, shelf: Rows[Product], error: type[Exception]
) -> None:
    row = cart(flag=1)

    with pytest.raises(error):
        add_to_cart(command, row, shelf, context())

    assert row.quantities == {"flag": 1}


def test_a_quantity_is_set_and_none_takes_out() -> None:
    row = cart(scarf=2, flag=1)

    set_quantity(SetQuantity(cart_id="c1", product_id="scarf", quantity=7), row)
    set_quantity(SetQuantity(cart_id="c1", product_id="flag", quantity=0), row)

    assert row.quantities == {"scarf": 7}


def test_setting_what_is_so_already_or_not_in_it_changes_nothing() -> None:
    row = cart(scarf=2)

    same = set_quantity(SetQuantity(cart_id="c1", product_id="scarf", quantity=2), row)
    other = set_quantity(SetQuantity(cart_id="c1", product_id="flag", quantity=2), row)

    assert (same, other, row.quantities) == (None, None, {"scarf": 2})


@pytest.mark.parametrize("quantity", [-1, MOST_OF_A_PRODUCT + 1])
def test_a_quantity_beyond_reason_is_refused(quantity: int) -> None:
    row = cart(scarf=2)

    with pytest.raises(Invalid):
        set_quantity(SetQuantity(cart_id="c1", product_id="scarf", quantity=quantity), row)

    assert row.quantities == {"scarf": 2}


@pytest.fixture
def shelves(transactional_db: None) -> None:
    stock_shelves()


def add_from_two_windows(times: int) -> int:
    """How many scarves are in a cart to which two threads have each added so many, one by one."""
    bus.execute(AddToCart(cart_id="c1", lines=(CartLine(FLAG, 1),)), tenant="main", actor="test")
    start = threading.Barrier(2)

    def click() -> None:
        start.wait()
        for _ in range(times):
            command = AddToCart(cart_id="c1", lines=(CartLine(SCARF, 1),))
            bus.execute(command, tenant="main", actor="test")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(click), pool.submit(click)]:
            done.result()
    return Cart.objects.get().quantities[SCARF]


def test_two_windows_lose_nothing(shelves: None) -> None:
    assert add_from_two_windows(20) == 40
    assert fold_differences(Cart) == []


def test_control_without_the_row_lock_an_addition_is_lost(
    shelves: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two windows that both look into the cart before either puts something in
    select, call, both = Table.select, delivery.call, threading.Barrier(2, timeout=20)
    seen = threading.local()

    def look(table: Table, keys: Any, *, lock: bool) -> Statement:
        return select(table, keys, lock=False)

    def decide(one: Any, *rest: Any) -> None:
        is_ours = isinstance(one.message, AddToCart) and one.message.lines[0] == ONE
        if is_ours and not hasattr(seen, "met"):
            seen.met = both.wait()
        call(one, *rest)

    monkeypatch.setattr(Table, "select", look)
    monkeypatch.setattr(bus, "call", decide)

    assert add_from_two_windows(1) == 1


def test_a_cart_is_filled_changed_and_emptied_on_its_pages(shelves: None) -> None:
    client = Client()

    assert add(client, quantity=2).headers["Location"] == "/shop/cart"
    add(client, HOODIE)
    text = page(client, "/shop/cart")
    assert "Club Scarf is in your cart." in text
    assert "$104.48" in text
    client.post("/shop/cart/quantity", {"product": SCARF, "quantity": 1})
    client.post("/shop/cart/quantity", {"product": HOODIE, "quantity": 0})
    assert "$19.99" in page(client, "/shop/cart")
    assert Cart.objects.get().quantities == {SCARF: 1}
    client.post("/shop/cart/quantity", {"product": SCARF, "quantity": 0})
    assert "Your cart is empty" in page(client, "/shop/cart")


def test_another_visitor_has_another_cart(shelves: None) -> None:
    one, other = Client(), Client()

    add(one)

    assert "Your cart is empty" in page(other, "/shop/cart")


@pytest.mark.parametrize(
    ("product_id", "quantity"),
    [("ghost", "1"), (SCARF, "0"), (SCARF, "-1"), (SCARF, "many"), ("", "1")],
)
def test_nonsense_is_refused_in_words(shelves: None, product_id: str, quantity: str) -> None:
    client = Client()

    answer = client.post(
        "/shop/cart/add", {"product": product_id, "quantity": quantity}, follow=True
    )

    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert not Cart.objects.exists()


def test_with_htmx_one_stays_where_one_is(shelves: None) -> None:
    fields = {"product": SCARF, "quantity": 1, "next": "/shop/products/prod-456"}

    there = Client().post("/shop/cart/add", fields, headers={"HX-Request": "true"})
    elsewhere = Client().post(
        "/shop/cart/add", fields | {"next": "https://example.test/"}, headers={"HX-Request": "true"}
    )

    assert there.headers["Location"] == "/shop/products/prod-456"
    assert elsewhere.headers["Location"] == "/shop/cart"


def test_changing_a_cart_that_is_not_there_says_so(shelves: None) -> None:
    fields = {"product": SCARF, "quantity": 1}

    answer = Client().post("/shop/cart/quantity", fields, follow=True)

    assert "Your cart is empty" in answer.content.decode()


def test_what_is_short_must_be_changed_before_it_can_be_ordered(shelves: None) -> None:
    client = Client()
    add(client, SCARF, 6)

    text = page(client, "/shop/cart")

    assert "Only 5 left" in text
    assert 'href="/shop/checkout"' not in text
    assert client.get("/shop/checkout").headers["Location"] == "/shop/cart"


def test_a_form_from_elsewhere_is_refused(shelves: None) -> None:
    client = Client(enforce_csrf_checks=True)

    answer = add(client)

    assert answer.status_code == 403
    assert "This form is too old" in answer.content.decode()
    assert not Cart.objects.exists()


def test_the_cart_takes_few_queries(
    shelves: None, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = Client()
    add(client)
    add(client, HOODIE)
    with django_assert_max_num_queries(5):
        page(client, "/shop/cart")


def test_an_empty_cart_is_emptied_without_a_word(shelves: None) -> None:
    bus.execute(AddToCart(cart_id="c1", lines=(ONE,)), tenant="main", actor="test")

    first = bus.execute(EmptyCart(cart_id="c1"), tenant="main", actor="test")
    second = bus.execute(EmptyCart(cart_id="c1"), tenant="main", actor="test")

    assert [len(first.messages), len(second.messages)] == [1, 0]
