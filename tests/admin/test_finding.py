"""Ways through the admin: searching messages, and links between what belongs together."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from ecommerce.messaging.links import Link
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.searching import first_position, position_before
from orders import models as orders
from payments import models as payments
from tests.admin import rows
from tests.admin.conftest import SignIn
from tests.admin.rows import make, url

pytestmark = pytest.mark.django_db
LOG: Any = orders.tables.log
MESSAGES = [LOG, orders.tables.inbox, orders.tables.effect, orders.tables.dead, orders.tables.timer]


def found(client: Client, model: Any, term: str) -> list[Any]:
    page: Any = client.get(url(model), {"q": term})
    return list(page.context_data["cl"].result_list)


def links(client: Client, row: Any) -> dict[str, list[Link]]:
    page: Any = client.get(url(type(row), "change", row.pk))
    return dict(page.context_data["links"])


@pytest.mark.parametrize("model", MESSAGES, ids=rows.label)
@pytest.mark.parametrize("id_", [uuid7(), uuid.uuid4()], ids=["ours", "a caller's"])
def test_messages_are_found_by_any_of_their_ids(
    admin_client: Client, model: Any, id_: uuid.UUID
) -> None:
    itself = make(model, 1, stream="order/a", message_id=id_)
    caused = make(model, 2, stream="order/b", cause_id=id_)
    related = make(model, 3, stream="order/c", correlation_id=id_)
    make(model, 4, stream="order/d")

    assert set(found(admin_client, model, str(id_))) == {itself, caused, related}


@pytest.mark.parametrize("term", ["o1", "order/o1"])
def test_messages_are_found_by_their_stream_or_the_id_in_it(
    admin_client: Client, term: str
) -> None:
    mine = make(LOG)
    make(LOG, 2, stream="order/o2")

    assert found(admin_client, LOG, term) == [mine]


def test_deliveries_are_found_by_their_message(admin_client: Client) -> None:
    delivery = make(orders.tables.delivery)
    make(orders.tables.delivery, 2)

    assert found(admin_client, orders.tables.delivery, str(delivery.message_id)) == [delivery]


def test_a_search_begins_shortly_before_the_id_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 41):
        make(LOG, number, stream=f"order/o{number}")  # one a minute
    positions = dict(LOG.objects.values_list("recorded_at__minute", "position"))
    monkeypatch.setattr("ecommerce.messaging.searching.NEAR", 1)
    at = rows.NOW.replace(minute=30)
    made = uuid.UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))

    assert position_before(LOG, at) == positions[29]
    assert first_position(LOG, made) == positions[28]
    assert first_position(LOG, uuid.uuid4()) == 0


def test_an_order_leads_to_its_rows_and_messages_in_every_service(admin_client: Client) -> None:
    order = make(orders.Order)

    groups = links(admin_client, order)

    assert [link.title for link in groups["This order"]] == [
        "Fulfilments",
        "Reservations",
        "Payments",
        "Shipments",
        "Notifications",
        "Order summaries",
        "Placed orders",
        "Messages of orders",
        "Messages of inventory",
        "Messages of payments",
        "Messages of shipping",
        "Messages of notifications",
    ]
    assert groups["This order"][2].url == url(payments.Payment) + "?q=o1&tenant=main"
    assert groups["This order"][7].url == url(LOG) + "?q=order%2Fo1&tenant=main"
    assert "Customers" in [link.title for link in groups["This customer"]]


def test_links_lead_only_where_one_may_go(staff: SignIn) -> None:
    order = make(orders.Order)

    groups = links(staff(), order)

    titles = [link.title for link in groups["This order"]]
    assert "Payments" in titles
    assert [title for title in titles if title.startswith("Messages")] == []


def test_a_message_leads_to_its_order_its_relatives_and_its_deliveries(
    admin_client: Client,
) -> None:
    message = make(LOG)

    groups = links(admin_client, message)

    assert "Orders" in [link.title for link in groups["This order"]]
    assert [link.title for link in groups["This message"]] == [
        "Same correlation",
        "Deliveries in notifications",
        "Deliveries in customers",
        "Deliveries in analytics",
    ]


def test_links_do_not_mix_tenants(admin_client: Client) -> None:
    make(payments.Payment, tenant="other")
    order = make(orders.Order)
    groups = links(admin_client, order)

    page: Any = admin_client.get(groups["This order"][2].url)

    assert list(page.context_data["cl"].result_list) == []
