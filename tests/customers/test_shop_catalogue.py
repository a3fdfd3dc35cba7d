"""The catalogue that the shop shows: made from inventory's events, searched, sorted, paged."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries

from customers.models import Product
from ecommerce.identity.models import Tenant
from ecommerce.messaging.messages import Message
from ecommerce.messaging.projections import differences
from inventory.contracts import (
    InventoryAdjusted,
    InventoryRestocked,
    ProductCreated,
    StockCommitted,
    StockReleased,
    StockReserved,
)
from tests.customers.shelves import FLAG, HOODIE, SCARF, page, stock_shelves
from tests.projecting import columns, context, project

CREATED = datetime(2026, 3, 1, tzinfo=UTC)
created = ProductCreated(
    product_id="p1",
    name="Scarf",
    description="Warm.",
    price=1999,
    currency="USD",
    image_url=None,
    created_at=CREATED,
    category="Match day",
)
moved = [
    InventoryRestocked(product_id="p1", quantity=10),
    StockReserved(product_id="p1", order_id="o1", warehouse="main", quantity=3),
    StockReleased(product_id="p1", order_id="o1", warehouse="main", quantity=1),
    InventoryAdjusted(product_id="p1", change=-2, reason="broken"),
    StockCommitted(product_id="p1", order_id="o1", warehouse="main", quantity=2),
]


def product_of(events: tuple[Message, ...]) -> dict[str, object]:
    (row,) = project("customers", [(event, context()) for event in events])
    return columns(row)


def test_a_product_ends_the_same_in_every_order_of_its_events() -> None:
    ends = [product_of(order) for order in permutations([created, *moved])]

    assert len(ends) == 720
    assert ends[0] == {
        "tenant": "main",
        "product_id": "p1",
        "name": "Scarf",
        "description": "Warm.",
        "category": "Match day",
        "price": 1999,
        "currency": "USD",
        "image_url": "",
        "available": 6,
        "created_at": CREATED,
    }
    assert all(end == ends[0] for end in ends)


@pytest.mark.django_db(transaction=True)
def test_the_catalogue_equals_its_rebuild() -> None:
    stock_shelves()

    assert Product.objects.count() == 3
    assert differences(Product) == []


@pytest.mark.django_db
class TestShelves:
    """The page with all products."""

    @pytest.fixture(autouse=True)
    def _shelves(self) -> None:
        Product.objects.bulk_create(
            Product(
                tenant="main",
                product_id=product_id,
                name=name,
                description=f"{name}.",
                category=category,
                price=price,
                currency="USD",
                available=available,
                created_at=CREATED,
            )
            for product_id, name, category, price, available in [
                (SCARF, "Club Scarf", "Match day", 1999, 5),
                (HOODIE, "Match Day Hoodie", "Clothing", 6450, 5),
                (FLAG, "Supporter Flag", "Match day", 1850, 0),
            ]
        )

    def names(self, **query: str) -> list[str]:
        text = page(Client(), "/shop/", **query)
        all_names = ["Club Scarf", "Match Day Hoodie", "Supporter Flag"]
        found = {name: text.find(f'product__name">{name}<') for name in all_names}
        return sorted((name for name in found if found[name] >= 0), key=lambda name: found[name])

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, ["Club Scarf", "Match Day Hoodie", "Supporter Flag"]),
            ({"sort": "price"}, ["Supporter Flag", "Club Scarf", "Match Day Hoodie"]),
            ({"sort": "-price"}, ["Match Day Hoodie", "Club Scarf", "Supporter Flag"]),
            ({"sort": "nonsense"}, ["Club Scarf", "Match Day Hoodie", "Supporter Flag"]),
            ({"category": "Match day"}, ["Club Scarf", "Supporter Flag"]),
            ({"category": "Unknown"}, []),
            ({"available": "1"}, ["Club Scarf", "Match Day Hoodie"]),
            ({"q": "match"}, ["Club Scarf", "Match Day Hoodie", "Supporter Flag"]),
            ({"q": "scarf club"}, ["Club Scarf"]),
            ({"q": "100%"}, []),
            ({"q": "<script>"}, []),
            ({"page": "99"}, ["Club Scarf", "Match Day Hoodie", "Supporter Flag"]),
        ],
    )
    def test_are_searched_filtered_and_sorted(
        self, query: dict[str, str], expected: list[str]
    ) -> None:
        assert self.names(**query) == expected

    def test_what_was_searched_for_is_shown_as_text(self) -> None:
        assert "<script>alert" not in page(Client(), "/shop/", q="<script>alert(1)</script>")

    def test_a_nul_in_a_search_finds_nothing(self) -> None:
        assert Client().get("/shop/", {"q": "a\0b"}).status_code == 200

    def test_what_is_sold_out_says_so_and_cannot_be_bought(self) -> None:
        text = page(Client(), reverse("shop-product", args=[FLAG]))

        assert "Sold out" in text
        assert "Add to cart" not in text

    def test_a_page_holds_twelve(self) -> None:
        Product.objects.bulk_create(
            Product(tenant="main", product_id=f"x{n}", name=f"X{n}", created_at=CREATED)
            for n in range(12)
        )

        first, second = page(Client(), "/shop/"), page(Client(), "/shop/", page="2")

        assert "Page 1 of 2" in first
        assert first.count('class="product"') == 12
        assert second.count('class="product"') == 3

    def test_take_few_queries(self, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        with django_assert_max_num_queries(4):
            page(Client(), "/shop/")
        with django_assert_max_num_queries(3):
            page(Client(), reverse("shop-product", args=[SCARF]))

    def test_of_another_tenant_are_not_shown(self) -> None:
        Tenant.objects.create(slug="other", name="Other")
        Product.objects.filter(product_id=SCARF).update(tenant="other")

        assert "Club Scarf" not in self.names()
        assert Client().get(reverse("shop-product", args=[SCARF])).status_code == 404

    def test_a_product_without_a_drawing_has_the_common_one(self) -> None:
        drawn = Product(product_id=SCARF)
        plain = Product(product_id="new")
        own = Product(product_id="own", image_url="/static/own.png")
        elsewhere = Product(product_id="far", image_url="https://example.test/far.png")

        assert [p.picture for p in (drawn, plain, own, elsewhere)] == [
            "/static/shop/pictures/prod-456.svg",
            "/static/shop/pictures/other.svg",
            "/static/own.png",
            "/static/shop/pictures/other.svg",
        ]


@pytest.mark.django_db
def test_an_empty_shop_says_so() -> None:
    assert "Nothing fits" in page(Client(), "/shop/")


@pytest.mark.django_db
def test_what_was_not_created_is_not_shown() -> None:
    Product.objects.create(tenant="main", product_id="p1", name="Ghost", available=5)

    assert "Ghost" not in page(Client(), "/shop/")
    assert Client().get(reverse("shop-product", args=["p1"])).status_code == 404
