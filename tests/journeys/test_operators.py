"""What operators look at, wherever the services' tables are."""

from __future__ import annotations

from ecommerce.console.traffic import states
from ecommerce.messaging import agenda, inspection
from ecommerce.messaging.fleet import fleet
from ecommerce.messaging.services import service, services
from tests.journeys.apart import in_both_forms
from tests.journeys.audit import settle
from tests.journeys.shop import Shop

SERVICES = {
    "orders",
    "inventory",
    "payments",
    "shipping",
    "notifications",
    "customers",
    "analytics",
}


@in_both_forms
def test_an_order_is_seen_from_all_sides(shop: Shop) -> None:
    # given
    order_id = shop.order()
    # when it waits
    waiting = states(["main"])["main"]
    # then
    assert waiting.texts["total.orders"] == waiting.texts["total.open"] == "1"
    assert [each.key for each in agenda.expiries("main", 5)] == [order_id]
    # when it has gone through
    settle()
    now = states(["main"])["main"]
    # then
    assert {label: now.texts[f"{label}.waiting"] for label in SERVICES} == dict.fromkeys(
        SERVICES, "0"
    )
    assert now.paces["orders-payments"] == now.paces["payments-customers"] == 1
    assert {each.service for each in fleet()[1]} == SERVICES
    assert {each.service for each in agenda.planned()} == SERVICES


@in_both_forms
def test_a_message_is_followed_through_all_services(shop: Shop) -> None:
    # given
    order_id = shop.order()
    settle()
    log = service("orders").tables.log._default_manager
    created = log.get(stream=f"order/{order_id}", name="orders.OrderCreated")
    # when
    found = inspection.message("main", created.message_id)
    together = inspection.correlated("main", created.correlation_id)
    deliveries = inspection.attempts([created.message_id])
    # then
    assert found is not None
    assert found.name == "orders.OrderCreated"
    assert {each.service for each in together} >= {"orders", "inventory", "payments", "shipping"}
    assert {each.service for each in deliveries} >= {"customers", "notifications", "analytics"}
    assert {config.label for config in services()} == SERVICES
