"""The same work, carried by `celery worker` and `celery beat` over a real broker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from customers.models import OrderSummary
from ecommerce.messaging.bus import execute
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.worker import Worker
from orders.contracts import CreateOrder, RequestedLine
from tests.transports.brokers import Valkey, until
from tests.transports.running import Running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


@pytest.fixture
def shop(transactional_db: None, tmp_path: Path) -> Iterator[Running]:
    """A shop in one database, whose catalogue is known to orders, and a broker of its own."""
    call_command("seed", verbosity=0)
    until(lambda: Worker().drain(5.0) == 0)
    with tempfile.TemporaryDirectory(prefix="valkey") as directory:
        broker = Valkey(Path(directory))
        broker.start()
        running = Running(broker, {}, tmp_path)
        yield running
        running.kill_all()
        print(running.logs()[-6000:])
        broker.kill()


def beat(shop: Running) -> None:
    shop.celery("beat", "--schedule", str(shop.directory / "schedule"), "-l", "warning")


def order(number: int = 1) -> list[str]:
    """Place so many orders of one scarf; return their ids."""
    ids = [str(uuid7()) for _ in range(number)]
    line = RequestedLine(product_id="prod-456", quantity=1)
    for order_id in ids:
        command = CreateOrder(order_id=order_id, customer_id="cust-123", lines=(line,))
        execute(command, tenant="main", actor="test")
    return ids


def all_shipped(ids: list[str]) -> bool:
    return OrderSummary.objects.filter(order_id__in=ids, status="Shipped").count() == len(ids)


def test_an_order_is_carried_out_by_celery_alone(shop: Running) -> None:
    shop.receiver()
    beat(shop)

    ids = order()

    until(lambda: all_shipped(ids))


def test_runworker_and_celery_of_every_kind_do_the_same_work_together(shop: Running) -> None:
    # given every process that can work, all at once
    shop.worker()
    shop.receiver()
    shop.celery("worker", "--pool", "prefork", "--concurrency", "2", "-l", "warning")
    beat(shop)

    # when orders are placed before, while and after some of them come and go
    ids = order(10)
    until(OrderSummary.objects.exists)
    shop.programs[0].kill()
    ids += order(10)
    shop.worker()
    shop.programs[2].kill()
    ids += order(10)

    # then each is carried out once, and the books agree
    until(lambda: all_shipped(ids))
    shop.kill_all()
    shop.manage("audit", "--patience", "30")
