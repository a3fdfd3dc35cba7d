"""What the tests of transports use: a second database, and a broker moved by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from ecommerce.messaging import sender
from tests.messaging import elsewhere as another
from tests.messaging.conftest import clock, connection, elsewhere
from tests.messaging.elsewhere import Elsewhere
from tests.transports import carrier as carriers
from tests.transports.brokers import Broker, RabbitMQ, Valkey
from tests.transports.carrier import Carrier
from tests.transports.running import Running

__all__ = ["clock", "connection", "elsewhere"]


@pytest.fixture(scope="session")
def _another_database(django_db_setup: None, worker_id: str) -> str:
    return another.clone(f"{worker_id}_transports")


@pytest.fixture(autouse=True)
def _nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test knows what the one before has sent."""
    monkeypatch.setattr(sender, "_flights", {})


@pytest.fixture
def carrier(
    elsewhere: Elsewhere, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Carrier]:
    """`analytics` lives in another database than the rest, and the test carries its messages."""
    elsewhere.move("analytics")
    settings.MESSAGING_PUBLISH = "tests.transports.carrier.publish"
    monkeypatch.setattr(carriers, "current", [])
    made = Carrier("inventory")
    carriers.current.append(made)
    yield made
    made.worker.conn.close()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="valkey") as directory:  # a socket's path is short
        server = Valkey(Path(directory))
        yield server
        server.kill()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.close()


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker | None]:
    """The broker of this transport, awake and empty."""
    if request.param == "in-process":
        yield None
        return
    server: Broker = request.getfixturevalue(request.param)
    server.start()
    server.forget()
    yield server
    print(server.log()[-6000:])


@pytest.fixture
def running(broker: Broker | None, elsewhere: Elsewhere, tmp_path: Path) -> Iterator[Running]:
    """The shop's processes, none of them started yet; `analytics` is in another database."""
    elsewhere.move("analytics")
    made = Running(broker, {"analytics": elsewhere.name}, tmp_path)
    yield made
    made.kill_all()
    print(made.logs()[-6000:])
