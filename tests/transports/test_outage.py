"""The broker is gone for a while: customers do not notice, nothing is lost, and it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ecommerce.embedded.management.commands.serve import programs
from orders.models import Order
from tests.journeys.shop import SCARF, Shop
from tests.messaging.elsewhere import Elsewhere
from tests.transports.brokers import Broker, free_ports, until
from tests.transports.running import Running

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.timeout(240),
    pytest.mark.parametrize(
        "broker",
        ["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)],
        indirect=True,
    ),
]

AWAY = ("payments", "analytics")
OUTAGE_SECONDS = 6.0
PROMPT_SECONDS = 2.0
"""A library that waits for its broker takes 6 s and more; the rest is for a busy machine."""


@pytest.fixture
def split(broker: Broker, elsewhere: Elsewhere, tmp_path: Path) -> Iterator[Running]:
    """The seeded shop, where orders have to cross between two databases to be paid."""
    elsewhere.move(*AWAY)
    made = Running(broker, dict.fromkeys(AWAY, elsewhere.name), tmp_path)
    made.manage("seed")
    yield made
    made.kill_all()
    print(made.logs()[-6000:])


def open_shop(running: Running) -> str:
    (port,) = free_ports(1)
    web, *_ = programs(port, workers=0)
    running.start(web.arguments)
    running.everything()
    address = f"http://127.0.0.1:{port}"
    until(lambda: _answers(address))
    return address


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/alive", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def shipped() -> int:
    return Order.objects.filter(status="Shipped").count()


def test_orders_are_taken_at_once_while_the_broker_is_away_and_carried_out_after(
    split: Running, broker: Broker
) -> None:
    # given a shop whose orders need the broker
    address = open_shop(split)
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
        shop = Shop(http)
        until(lambda: shop.place().status_code == 201)
        until(lambda: shipped() == Order.objects.count())

        # when it is killed, and orders are placed all the time
        broker.kill()
        took = []
        until_back = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < until_back:
            began = time.monotonic()
            shop.order({SCARF: 1})
            took.append(time.monotonic() - began)
            time.sleep(0.3)

    # then nobody waits for it, and no such order is paid
    assert max(took) < PROMPT_SECONDS
    placed = Order.objects.count()
    assert shipped() == placed - len(took)

    # and when it is back, all are carried out, and the books agree
    broker.start()
    until(lambda: shipped() == placed)
    split.manage("audit", "--patience", "30")
    away = split.logs().count("the broker is away")
    assert 1 <= away <= 2 * len(split.programs)  # a connection kept from before may fail once more
