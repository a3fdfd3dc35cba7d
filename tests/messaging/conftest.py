"""What the kernel's tests use: a clock to be moved, workers to be moved, and a clean registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pytest_django.fixtures import Settings

from ecommerce.messaging import database, deadlines, policies, registry, schedules, wakeup
from ecommerce.messaging.database import Connection, connect
from payments import gateways
from tests.messaging import declaring
from tests.messaging import elsewhere as another
from tests.messaging.calls import Caller, Gateway
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.letters import Faults, failing_handler
from tests.messaging.steps import Puppet


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handlers that a test registers are gone afterwards, and so are threads and connections.

    The canary is silent, so that only what a test sends is in the logs; see `canaries`.
    """
    monkeypatch.setattr(registry, "_handlers", dict(registry._handlers))
    listeners = {message: list(found) for message, found in registry._by_message.items()}
    monkeypatch.setattr(registry, "_by_message", listeners)
    monkeypatch.setattr(deadlines, "_deadlines", list(deadlines._deadlines))
    monkeypatch.setattr(schedules, "_schedules", {})
    yield
    wakeup.close()
    database.close_pools()


DECLARED = dict(schedules._schedules)


@pytest.fixture
def canaries(_as_before: None) -> None:
    """Let the services ping themselves, as they do."""
    schedules._schedules.update(DECLARED)


class Clock:
    """The database's clock, for everyone who asks `messaging_now()`."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def advance(self, seconds: float) -> None:
        self.ahead += seconds
        with connect("default") as conn:
            conn.execute(
                "INSERT INTO messaging_clock (ahead) VALUES (make_interval(secs => %b::float8)) "
                "ON CONFLICT (only_row) DO UPDATE SET ahead = excluded.ahead",
                (self.ahead,),
            )


@pytest.fixture
def clock(transactional_db: None) -> Clock:
    return Clock()


@pytest.fixture
def puppet(transactional_db: None) -> Iterator[Callable[..., Puppet]]:
    """Make a worker of one service that the test moves by hand."""
    made: list[Puppet] = []

    def make(label: str, name: str = "") -> Puppet:
        made.append(Puppet(label, name or f"worker-{len(made) + 1}"))
        return made[-1]

    yield make
    for each in made:
        each.conn.close()


@pytest.fixture
def connection(transactional_db: None) -> Iterator[Callable[[], Connection]]:
    """Open a connection of the test's own, in autocommit mode."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(connect("default"))


@pytest.fixture(scope="session")
def _another_database(django_db_setup: None, worker_id: str) -> str:
    return another.clone(worker_id)


@pytest.fixture
def elsewhere(
    transactional_db: None, settings: Settings, _another_database: str
) -> Iterator[Elsewhere]:
    """A second database, to which the test may move services."""
    settings.SERVICE_DATABASES = dict(settings.SERVICE_DATABASES)
    another.open_alias(_another_database)
    yield Elsewhere(_another_database)
    database.close_pools()
    another.close_alias()


@pytest.fixture
def caller(transactional_db: None) -> Iterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def make(name: str, *topics: str, label: str = "payments") -> Caller:
        made.append(Caller(name, frozenset(topics) or None, label))
        return made[-1]

    yield make
    for each in made:
        each.pool.shutdown()
        each.conn.close()


@pytest.fixture
def declare(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Declare these policies, in this order, instead of the shop's."""

    def make(*declared: policies.Policy) -> None:
        monkeypatch.setattr(declaring, "POLICIES", declared)
        settings.MESSAGING_POLICIES = declaring.PATH
        policies.forget()

    yield make
    policies.forget()


@pytest.fixture
def gateway(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setitem(gateways._adapters, "watched", made)
    settings.PAYMENT_GATEWAY = "watched"
    return made


@pytest.fixture
def faults() -> Faults:
    """What the handler `analytics.note` raises for."""
    return failing_handler()


@pytest.fixture
def worker(puppet: Callable[..., Puppet], faults: Faults) -> Puppet:
    """A worker of analytics, which has that handler."""
    return puppet("analytics", "worker")
