"""Payments in the admin: everything to see, nothing to change."""

import pytest
from django.test import Client
from django.urls import reverse

from payments.models import SimulatedCharge

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["payment", "simulatedcharge"])
def test_lists_are_shown_and_searched(admin_client: Client, name: str) -> None:
    response = admin_client.get(reverse(f"admin:payments_{name}_changelist"), {"q": "o1"})

    assert response.status_code == 200


def test_a_charge_can_be_read_and_not_changed(admin_client: Client) -> None:
    charge = SimulatedCharge.objects.create(
        key="main/o1/charge/1", amount=3998, currency="USD", state="captured", transaction_id="t"
    )
    address = reverse("admin:payments_simulatedcharge_change", args=[charge.pk])

    assert admin_client.get(address).status_code == 200
    assert admin_client.post(address, {"state": "refunded"}).status_code == 403
    charge.refresh_from_db()
    assert charge.state == "captured"
