"""Inventory in the admin: everything to see, nothing to change."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from inventory.contracts import InventoryReserved, ReservedLine
from inventory.models import Product, Reservation, StockItem


@pytest.mark.parametrize(
    "name", ["product", "stockitem", "reservation", "inventorylevel", "inventorysummary"]
)
def test_lists_are_shown_and_searched(
    admin_client: Client, create: Callable[..., None], deliver: Callable[[], None], name: str
) -> None:
    create(scarf=10)
    deliver()

    response = admin_client.get(reverse(f"admin:inventory_{name}_changelist"), {"q": "scarf"})

    assert response.status_code == 200


def test_a_row_can_be_read_and_not_changed(
    admin_client: Client, create: Callable[..., None]
) -> None:
    create(scarf=10)
    stock = StockItem.objects.get()
    address = reverse("admin:inventory_stockitem_change", args=[stock.pk])

    assert admin_client.get(address).status_code == 200
    assert admin_client.post(address, {"on_hand": 99}).status_code == 403
    assert admin_client.get(reverse("admin:inventory_product_add")).status_code == 403
    stock.refresh_from_db()
    assert stock.on_hand == 10
    assert Product.objects.count() == 1


def test_a_reservation_shows_its_lines(admin_client: Client, create: Callable[..., None]) -> None:
    create(scarf=10)
    reservation = Reservation(tenant="main")
    lines = (ReservedLine("1", "scarf", 2, "main"),)
    stamp = Product.objects.get().created_at
    reservation.apply(InventoryReserved(order_id="o1", lines=lines, expires_at=stamp))
    reservation.save()

    address = reverse("admin:inventory_reservation_change", args=[reservation.pk])

    assert "scarf" in admin_client.get(address).content.decode()
