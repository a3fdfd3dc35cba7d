"""The broker is gone for a while: customers do not notice, nothing is lost, and it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ecommerce.embedded.management.commands.serve import programs
from ecommerce.messaging.services import services
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
LATE_SECONDS = 3
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
    running.start(web.arguments, READY_OLDEST_SECONDS=str(LATE_SECONDS))
    running.everything()
    address = f"http://127.0.0.1:{port}"
    until(lambda: _answers(address))
    return address


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/alive", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def missing(address: str) -> dict[str, float] | None:
    """None when it is ready, otherwise the relays that are behind, and for how many seconds."""
    response = httpx.get(f"{address}/health/ready", timeout=30, trust_env=False)
    relays = [each for each in response.json()["checks"] if each["name"].startswith("relay ")]
    late = {each["name"]: each["seconds"] for each in relays if not each["ok"]}
    assert not late or response.status_code == 503
    return None if response.status_code == 200 else late


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
        until(lambda: missing(address) is None)

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

    # and readiness says which service is behind, and for how long
    until(lambda: missing(address))
    late = missing(address) or {}
    assert set(late) <= {
        f"relay {source.label} to {target}" for source in services() for target in AWAY
    }
    assert late["relay orders to payments"] > LATE_SECONDS

    # and when it is back, all are carried out, and the books agree
    broker.start()
    until(lambda: shipped() == placed)
    until(lambda: missing(address) is None)
    split.manage("audit", "--patience", "30")
    away = split.logs().count("the broker is away")
    assert 1 <= away <= 2 * len(split.programs)  # a connection kept from before may fail once more
