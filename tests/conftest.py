"""What every test has: a database of its process's own, and servers of its own to kill.

`django_db` tests roll back. `django_db(transaction=True)` tests commit for real, and afterwards
what they wrote is removed. See `databases`.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.servers.basehttp import ServerHandler, WSGIRequestHandler
from django.db import connections
from django.test import TransactionTestCase
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import DjangoDbBlocker
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from ecommerce.embedded.accounts import find_binaries
from ecommerce.embedded.postgres import Server
from ecommerce.messaging import wakeup
from ecommerce.messaging.database import close_pools
from ecommerce.messaging.tenancy import WEB_ROLE
from ecommerce.simulation import providers
from tests import databases

# A slow machine is no failure, and a failure is shown with what reproduces it.
hypothesis_settings.register_profile("suite", deadline=None, print_blob=True)
hypothesis_settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    # Strong hashes are slow on purpose; tests log in often.
    django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    owned = ExitStack()
    owned.enter_context(databases.run())
    config.add_cleanup(owned.close)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for processes that they started."""
    return len(os.sched_getaffinity(0)) + 1


TOGETHER = ("[rabbitmq]", "tests/benchmarks/test_parts.py")
"""Two RabbitMQs, or two measurements, beside each other get in each other's way. A group's name would
say it too, but pytest-xdist 3.8 does not see one under pytest 9.2."""


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """Processes take one test after another, the most that stay together first."""

    def _split_scope(self, nodeid: str) -> str:
        return next((part for part in TOGETHER if part in nodeid), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing:
    return Sharing(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests come first and together, so that each process starts one browser, and
    ends it: its event loop runs in the tests' thread. The long ones follow, for nobody to wait for.
    """
    items.sort(
        key=lambda item: (
            item.get_closest_marker("browser") is None,
            item.get_closest_marker("timeout") is None,
        )
    )


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: DjangoDbBlocker, worker_id: str) -> Iterator[None]:
    """Replaces pytest-django's own: a clone instead of migrations in every process."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        databases.clone_for(worker_id)
        patch.setattr(TransactionTestCase, "_fixture_teardown", _empty_databases)
        # Every test may use every database: which service has one of its own is not its concern.
        # ORDERS_DATABASE_URL=postgresql:///any make test gives orders one.
        patch.setattr(TransactionTestCase, "databases", frozenset(connections))
        yield
        connections.close_all()


def _empty_databases(test: TransactionTestCase) -> None:
    for alias in test._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        databases.empty(connections[alias])


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """The kernel's pools and threads end with the test: the next one may have another database."""
    yield
    wakeup.close()
    close_pools()
    for provider in providers():
        provider.forget()


@pytest.fixture(scope="session", autouse=True)
def _test_server() -> Iterator[None]:
    """Django's live server as a server should be; one of them serves all tests of a process."""
    with pytest.MonkeyPatch.context() as patch:
        # It sends an answer in two pieces, and the second would wait 40 ms for the first one's
        # acknowledgement.
        patch.setattr(WSGIRequestHandler, "disable_nagle_algorithm", True)
        # Without an address for media files it looks for every address in the working directory.
        patch.setattr(django_settings, "MEDIA_URL", "/media/")
        yield


@pytest.fixture(autouse=True)
def _nothing_escapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An exception that a live server had no page for fails the test that it served, as it is."""
    escaped: list[BaseException] = []

    def remember(handler: ServerHandler, failure: tuple[Any, BaseException, Any]) -> None:
        escaped.append(failure[1])

    monkeypatch.setattr(ServerHandler, "log_exception", remember)
    yield
    if escaped:
        raise escaped[0]


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A PostgreSQL server for this test alone, durable, to be killed and restarted."""
    with databases.throw_away_server(durable=True) as server:
        yield server


@pytest.fixture
def own_migrated_server(own_server: Server, django_db_setup: None) -> Server:
    """A server for this test alone, with all tables of the default database."""
    binaries = find_binaries()
    dump = subprocess.run(
        [str(binaries / "pg_dump"), databases.template_url(), "--exclude-schema=pristine"],
        check=True,
        capture_output=True,
    )
    psql = [str(binaries / "psql"), own_server.url, "-q", "-v", "ON_ERROR_STOP=1"]
    role = f"CREATE ROLE {WEB_ROLE};\n".encode()  # a dump names roles and does not bring them
    subprocess.run(psql, input=role + dump.stdout, check=True, capture_output=True)
    return own_server
