"""The same work, carried by `celery worker` and `celery beat` over a real broker."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.signals import worker_shutting_down
from django.core.management import call_command

from customers.models import OrderSummary
from ecommerce.console import auditing
from ecommerce.console.models import Audit
from ecommerce.messaging import rebuilds, tasks
from ecommerce.messaging.bus import execute
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.tables import Rebuild
from ecommerce.messaging.worker import Worker
from notifications.models import Mail
from orders.contracts import CreateOrder, RequestedLine
from tests.messaging.steps import fetch
from tests.transports.brokers import Valkey, until
from tests.transports.running import Running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

UNSENT = "SELECT FROM \"{effect}\" WHERE handler = 'notifications.send_notification'"
MAILS = 3
"""Of an order that has been shipped: confirmed, paid, on its way."""


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


def state(wanted: Rebuild) -> str:
    wanted.refresh_from_db()
    return wanted.state


def test_an_order_is_carried_out_by_celery_alone(shop: Running) -> None:
    shop.receiver()
    beat(shop)

    ids = order()

    until(lambda: all_shipped(ids))


def test_celery_alone_carries_out_rebuilds_and_audits_that_are_asked_for(shop: Running) -> None:
    wanted = rebuilds.request([OrderSummary], "user:1")
    auditing.request("main", "user:1")

    shop.receiver()
    beat(shop)

    until(lambda: state(wanted) == "done")
    until(lambda: Audit.objects.get().state == "done")


def test_a_worker_that_shuts_down_begins_no_rebuild(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_stopping", threading.Event())
    wanted = rebuilds.request([OrderSummary], "user:1")

    with monkeypatch.context() as stopping:
        stopping.setattr(tasks, "_stopping", threading.Event())
        worker_shutting_down.send(sender=None)
        tasks.errands()
    assert state(wanted) == "requested"

    tasks.errands()
    assert state(wanted) == "done"


def test_celery_makes_the_calls_of_its_topics_and_leaves_others_to_runworker(
    shop: Running,
) -> None:
    # given Celery workers that send no mail, where policies keep mails apart
    production = {"MESSAGING_ENVIRONMENT": "production"}
    shop.receiver(**production, WORKER_TOPICS="default")
    beat(shop)

    # when an order is carried out, then its mails wait
    ids = order()
    until(lambda: all_shipped(ids) and len(fetch("notifications", UNSENT)) >= MAILS)
    assert not Mail.objects.exists()

    # until a worker comes that takes them
    shop.worker(**production, WORKER_TOPICS="mail")
    until(lambda: Mail.objects.count() >= MAILS)


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
