"""`manage.py seed`: the demo shop."""

from collections.abc import Callable

import pytest
from django.core.management import call_command

from customers.models import tables as customers_tables
from ecommerce.messaging.bus import execute
from inventory.contracts import RestockInventory
from inventory.models import Product, StockItem, tables


def test_the_demo_catalogue_is_as_documented(
    transactional_db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("seed")

    assert capsys.readouterr().out == "Added 12 demo products to main.\n"
    products = {p.product_id: p for p in Product.objects.filter(tenant="main")}
    stock = {s.product_id: s.on_hand for s in StockItem.objects.filter(tenant="main")}
    assert len(products) == 12
    assert (products["prod-456"].price, products["prod-456"].currency) == (1999, "USD")
    assert (stock["prod-456"], stock["prod-789"]) == (100, 50)
    assert all(35 <= units <= 150 for units in stock.values())
    contacts = customers_tables.log._default_manager.filter(name="customers.ContactSaved")
    (saved,) = contacts.values_list("stream", "person")
    assert saved == ("customer/cust-123", "cust-123")


def test_a_second_seed_does_nothing_and_says_nothing(
    transactional_db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("seed")
    execute(RestockInventory(product_id="prod-456", quantity=5), tenant="main", actor="test")
    capsys.readouterr()
    written = tables.log._default_manager.count()

    call_command("seed")

    assert capsys.readouterr().out == ""
    assert tables.log._default_manager.count() == written
    assert StockItem.objects.get(product_id="prod-456").on_hand == 105


def test_a_seed_adds_only_what_is_missing(
    create: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    create(**{"prod-456": 7})

    call_command("seed")

    assert capsys.readouterr().out == "Added 11 demo products to main.\n"
    assert StockItem.objects.get(product_id="prod-456").on_hand == 7


def test_each_tenant_has_its_own_demo(transactional_db: None) -> None:
    call_command("seed")
    call_command("seed", tenant="other")

    assert Product.objects.filter(tenant="other").count() == 12
    assert Product.objects.count() == 24
