"""The loop that does it all by itself: it is woken, and looks by itself; it survives its database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from psycopg import sql
from pytest_django.fixtures import Settings

from ecommerce.messaging import lane, performer, wakeup
from ecommerce.messaging import worker as worker_module
from ecommerce.messaging.database import connect
from ecommerce.messaging.effects import Effects
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.registry import handles
from ecommerce.messaging.tasks import drain
from ecommerce.messaging.worker import Worker
from inventory.contracts import AdjustInventory, InventoryRestocked
from payments.contracts import RecordCharge
from tests import databases
from tests.messaging.calls import Gateway, answers, pay
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import restocked
from tests.messaging.steps import fetch, in_service, until, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NEVER = 3600.0


@pytest.fixture(autouse=True)
def note() -> None:
    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=event.quantity, reason="note")


def noted() -> list[int]:
    return [
        message.change for message in written("analytics") if isinstance(message, AdjustInventory)
    ]


@contextmanager
def running(*labels: str) -> Iterator[Worker]:
    """A worker of analytics, and more, that runs in a thread and holds its partitions."""
    worker = Worker(["analytics", *labels])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(lambda: owners() == {worker.name})
        yield worker
    finally:
        worker.stop()
        thread.join()


def owners() -> set[str | None]:
    return {owner for (owner,) in fetch("analytics", "SELECT DISTINCT owner FROM {partition}")}


def test_a_notification_wakes_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", NEVER)
    with running():
        for number in range(3):
            write("inventory", restocked("a", number))
            wakeup.wake("default")
            until(lambda: len(noted()) == number + 1)  # noqa: B023


def test_what_has_grown_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "ANALYZE_SECONDS", 0.05)
    counted = "SELECT reltuples > 0 FROM pg_class WHERE oid = '{log}'::regclass"
    assert fetch("analytics", counted) == [(False,)]

    with running():
        write("inventory", *(restocked("a", number) for number in range(100)))
        until(lambda: len(noted()) == 100)

        def counted_after_one_more() -> bool:
            write("inventory", restocked("a", 1))
            wakeup.wake("default")
            return fetch("analytics", counted) == [(True,)]

        until(counted_after_one_more)


def test_without_notifications_work_is_found_by_looking(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    settings.MESSAGING_NOTIFY = False
    with running():
        for number in range(3):
            write("inventory", restocked("a", number))
            wakeup.wake("default")
            until(lambda: len(noted()) == number + 1)  # noqa: B023
    assert wakeup._notifiers == {}


def test_a_worker_whose_connections_are_all_cut_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(lane, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(wakeup, "RETRY_SECONDS", 0.05)
    with running():
        for number in range(5):
            until(cut_all)
            write("inventory", restocked("a", number))
            until(lambda: len(noted()) == number + 1)  # noqa: B023

    assert noted() == list(range(5))


def cut_all() -> int:
    """Cut this process's connections to the database, but for Django's; how many there were."""
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND (application_name = 'messaging' OR application_name LIKE %b::text) "
        "AND pid <> pg_backend_pid()"
    )
    with connect("default") as conn:
        return len(conn.execute(cut, (f"%:{os.getpid()}:%",)).fetchall())


def test_a_task_whose_connections_are_cut_says_so_and_the_next_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cuts: list[int] = []

    @handles
    @in_service("analytics")
    def cut_off(event: InventoryRestocked) -> None:
        if not cuts:
            cuts.append(cut_all())

    write("inventory", restocked("a", 1))

    assert drain() == 0
    assert "no work now, the next wake-up tries again" in caplog.text
    until(lambda: drain() or noted())
    assert noted() == [1]
    assert len(cuts) == 1


def test_a_worker_that_is_stopped_gives_its_partitions_back() -> None:
    with running():
        pass

    assert owners() == {None}
    assert fetch("analytics", "SELECT signed_off FROM {worker}") == [(True,)]
    assert fetch("analytics", "SELECT max(takeovers) FROM {partition}") == [(0,)]


def test_a_worker_that_is_told_to_stop_many_times_at_once_stops() -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "runworker"]
    process = subprocess.Popen([*command, "--services", "analytics"], env=dict(os.environ))
    until(lambda: owners() - {None})

    while process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.001)

    assert owners() == {None}


def test_a_worker_of_services_without_effects_runs_quietly(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    with running():
        write("inventory", restocked("a", 1))
        until(lambda: noted() == [1])

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_draining_ends_when_nothing_is_left_and_signs_off() -> None:
    write("inventory", restocked("a", 1), restocked("a", 2))

    assert Worker(["analytics"]).drain(seconds=20) == 2

    assert noted() == [1, 2]
    assert owners() == {None}


def test_a_failing_step_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(lane, "RECONNECT_SECONDS", 0.05)
    faults: list[Exception] = []
    step: Callable[[Lane], int] = Lane.step

    def fail_sometimes(lane: Lane) -> int:
        if faults:
            raise faults.pop()
        return step(lane)

    monkeypatch.setattr(Lane, "step", fail_sometimes)
    with running():
        faults += [ValueError("a bug"), RuntimeError("another one")]
        until(lambda: not faults)
        write("inventory", restocked("a", 1))
        until(lambda: noted() == [1])


@pytest.mark.parametrize("loses", [ValueError, TimeoutError, psycopg.errors.QueryCanceled])
def test_a_failing_look_does_not_end_the_thread_of_effects(
    loses: type[Exception], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performer, "RECONNECT_SECONDS", 0.05)
    faults: list[Exception] = []
    step: Callable[..., int] = Effects.step

    def fail_sometimes(effects: Effects, *args: Any, **options: Any) -> int:
        if faults:
            raise faults.pop()
        return step(effects, *args, **options)

    monkeypatch.setattr(Effects, "step", fail_sometimes)
    with running("payments"):
        faults += [loses("once"), loses("twice")]
        pay()
        until(lambda: answers() == [("o1", "approved")])

    assert faults == []
    assert gateway.calls == 1


def test_a_database_that_is_down_does_not_stop_the_services_of_another(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.move("inventory", "orders", "shipping")
    for name in ("check_reachable", "check_partitions", "check_names", "check_sees_every_tenant"):
        monkeypatch.setattr(worker_module, name, lambda *_: None)
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(lane, "RECONNECT_SECONDS", 0.05)

    with elsewhere.down(), running("inventory", "orders", "payments", "shipping"):
        charge = RecordCharge(order_id="o1", attempt=1, outcome="approved")
        write("payments", charge)
        query = "SELECT handler FROM {delivery}"
        until(lambda: fetch("payments", query) == [("payments.record_charge",)])


# Beginning before the database


@contextmanager
def beginning(url: str, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process for the database at an address, whose log goes to a file."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "runworker", *arguments]
    environment = os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "INFO"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def at(database: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl()


@pytest.fixture
def late() -> Iterator[str]:
    """The name of a database that is not there yet."""
    name = f"{os.environ['TEST_RUN']}_late_{os.getpid()}"
    yield name
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        server.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def create(name: str) -> None:
    template = urlsplit(databases.template_url()).path.removeprefix("/")
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(hashtext(%s))", [os.environ["TEST_RUN"]])
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def test_a_worker_that_begins_before_its_database_waits_for_it_and_works(
    late: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with beginning(at(late), log) as process:
        # given a worker without a database, which says so each time that it tries
        until(lambda: log.read_text().count("cannot be reached") > 1 or process.poll())
        assert f"the database default ({late}) cannot be reached" in log.read_text()
        assert "tried again in 1 s" in log.read_text()
        assert "tried again in 2 s" in log.read_text()

        # when the database comes
        create(late)

        # then the worker works, and stops as ever
        until(lambda: "works for" in log.read_text() or process.poll())
        process.terminate()
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("arguments", [(), ("--processes", "2")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_for_its_database_stops_at_once(
    late: str, tmp_path: Path, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    log = tmp_path / "log"
    with beginning(at(late), log, *arguments) as process:
        until(lambda: "cannot be reached" in log.read_text() or process.poll())

        process.send_signal(number)

        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()


def test_a_worker_whose_server_is_not_there_says_which_and_never_the_password(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with beginning("postgresql://shop:s3cret@127.0.0.1:1/shop", log) as process:
        until(lambda: "cannot be reached" in log.read_text() or process.poll())
    text = log.read_text()

    assert "the database default (shop) cannot be reached" in text
    assert '"127.0.0.1", port 1' in text
    assert "s3cret" not in text
    assert len(text.splitlines()) == text.count("cannot be reached")


def test_a_database_that_is_not_migrated_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with beginning(os.environ["TEST_DATABASE_URL"], log) as process:
        assert process.wait(30) == 1

    assert "run `manage.py migrate` first" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_task_whose_database_is_away_is_a_line_in_the_log(
    elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere.move("inventory")

    with elsewhere.down():
        assert drain() == 0
    assert "the database elsewhere" in caplog.text
    assert not [record for record in caplog.records if record.exc_info]

    caplog.clear()
    settings.SERVICE_DATABASES["inventory"] = "default"
    drain()
    assert "cannot be reached" not in caplog.text
