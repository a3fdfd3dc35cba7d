"""What journeys are made of: a shop over real HTTP, a worker beside it, a clock, and an audit.

A journey without the `worker` fixture moves the services by hand, with `settle`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from ecommerce.identity import tenants
from ecommerce.messaging import database, wakeup
from ecommerce.messaging.services import service
from ecommerce.messaging.worker import Worker
from tests.journeys import apart, audit
from tests.journeys.shop import Shop, until


@pytest.fixture(scope="session")
def _clones(django_db_setup: None, worker_id: str) -> dict[str, str]:
    return apart.clone(worker_id)


@pytest.fixture(scope="module")
def databases_apart(_clones: dict[str, str]) -> Iterator[None]:
    with apart.aliases(_clones):
        yield


@pytest.fixture
def form(
    request: pytest.FixtureRequest, transactional_db: None, settings: Settings
) -> Iterator[str]:
    """Where the services' tables are: `together` in one database, or each service `apart`."""
    chosen: str = getattr(request, "param", "together")
    if chosen == "together":
        yield chosen
    else:
        settings.SERVICE_DATABASES = {label: label for label in settings.SERVICES}
        with apart.my_turn():
            yield chosen


@pytest.fixture
def failures_of() -> set[str]:
    """The handlers that a test makes fail for good."""
    return set()


@pytest.fixture(autouse=True)
def _audited(form: str, failures_of: set[str]) -> Iterator[None]:
    """After every journey, once the shop is at rest, everything adds up."""
    tenants.forget()
    yield
    try:
        audit.settle()
        assert audit.findings(failures_of=failures_of) == []
    finally:
        wakeup.close()
        database.close_pools()
        tenants.forget()


@pytest.fixture
def shop(live_server: LiveServer, form: str) -> Iterator[Shop]:
    """The seeded shop; its catalogue is delivered."""
    call_command("seed", verbosity=0)
    audit.settle()
    with httpx.Client(base_url=live_server.url, timeout=15, trust_env=False) as http:
        yield Shop(http)


class BackgroundWorker:
    """One worker after another, each in a thread."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._worker = Worker()
        self._thread = threading.Thread(target=self._worker.run, name="worker")
        self._thread.start()

    def stop(self) -> None:
        """Let it finish and give back its leases, so that nobody waits for them to expire."""
        if self._worker is None or self._thread is None:
            return
        self._worker.stop()
        aliases = {config.database for config in self._worker.services}
        while self._thread.is_alive() or _listeners():
            # Those who listen end sooner when they hear something.
            for alias in aliases:
                wakeup.wake(alias)
            time.sleep(0.01)
        self._worker = self._thread = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()


@pytest.fixture
def worker(shop: Shop) -> Iterator[BackgroundWorker]:
    """A worker for all services, at work beside the shop."""
    running = BackgroundWorker()
    running.start()
    yield running
    running.stop()


def _listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, wakeup.Listener)]


class Clock:
    """The databases' clocks, for everyone who asks `messaging_now()`. They begin at the true time
    in every test."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def advance(self, *, seconds: float = 0, minutes: float = 0) -> None:
        """Leases of a worker at work run out by this: pause it, where that is not the point."""
        self.ahead += seconds + 60 * minutes
        for alias in {"default", *django_settings.SERVICE_DATABASES.values()}:
            with database.connect(alias) as conn:
                conn.execute(
                    "INSERT INTO messaging_clock (ahead) VALUES (make_interval(secs => %b::float8))"
                    " ON CONFLICT (only_row) DO UPDATE SET ahead = excluded.ahead",
                    (self.ahead,),
                )


@pytest.fixture
def clock(form: str) -> Clock:
    return Clock()


class Ledger:
    """The books of a simulated provider, which can be closed: then calls wait at the first page."""

    def __init__(self, label: str, table: str) -> None:
        self.alias = service(label).database
        self.table = table

    @contextmanager
    def closed(self) -> Iterator[None]:
        with database.connect(self.alias) as conn, conn.transaction():
            conn.execute("SET idle_in_transaction_session_timeout = 0")
            conn.execute(f'LOCK TABLE "{self.table}" IN ACCESS EXCLUSIVE MODE')
            yield

    def calls_waiting(self) -> int:
        with database.connect(self.alias) as conn:
            (waiting,) = conn.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
                "WHERE datname = current_database() AND NOT granted "
                "AND relation = %b::text::regclass",
                (self.table,),
            ).fetchone() or (0,)
        return int(waiting)

    def wait_for_call(self) -> None:
        until(self.calls_waiting)


@pytest.fixture
def gateway(form: str) -> Ledger:
    """The payment gateway."""
    return Ledger("payments", "payments_simulatedcharge")


@pytest.fixture
def carrier(form: str) -> Ledger:
    """The carrier."""
    return Ledger("shipping", "shipping_simulatedlabel")
