"""A whole shop in processes that can be killed: a PostgreSQL server, workers, a web server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from ecommerce.embedded.management.commands.serve import programs
from ecommerce.embedded.postgres import Server
from ecommerce.identity import tenants
from ecommerce.messaging import database, wakeup
from tests import databases
from tests.journeys import audit
from tests.journeys.shop import until

LEDGERS = {
    "payments": "payments_simulatedcharge",
    "shipping": "shipping_simulatedlabel",
    "notifications": "notifications_mail",
}
"""The books of the simulated provider that each service calls."""
GATE = 7411
WAITING = f"FROM pg_locks WHERE NOT granted AND classid = {GATE} AND objid = %b::int::oid"
MANAGE = settings.BASE_DIR / "manage.py"
STOP_SECONDS = 45.0
"""A Celery worker that is told to stop ends its task first, which may take 30 s."""


def gate_of(service: str) -> int:
    return list(LEDGERS).index(service)


class Program:
    """A process of the shop, with whatever processes it starts."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=settings.BASE_DIR,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """`kill -9`, and nothing else."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not stop; see {self.log.read_text()}") from None


class Platform:
    """The shop on a server of its own; this process acts in it, too."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.programs: list[Program] = []

    def start(self, command: list[str], **variables: str) -> Program:
        inherited = {k: v for k, v in os.environ.items() if not k.endswith("_DATABASE_URL")}
        # No parcel arrives while a test, slow as it may be, still looks.
        given = {"DATABASE_URL": self.server.url, "DEBUG": "0", "SIMULATED_DELIVERY_SECONDS": "600"}
        environment = inherited | given | variables
        log = self.directory / f"{len(self.programs)}.log"
        self.programs.append(Program(command, environment, log))
        return self.programs[-1]

    def start_worker(self, **variables: str) -> Program:
        """A worker that has its share of the work."""
        worker = self.start([sys.executable, str(MANAGE), "runworker"], **variables)
        until(lambda: worker.ended or self.holds(worker))
        assert not worker.ended, worker.log.read_text()
        return worker

    def holds(self, worker: Program) -> int:
        """How many partitions of notifications, the last service it asks for, a worker holds."""
        return self.ask(
            "SELECT count(*) FROM notifications_partition "
            "WHERE owner LIKE %b::text AND expires_at > messaging_now()",
            f"%:{worker.pid}:%",
        )

    def start_web(self) -> str:
        """A web server; return its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        web, *_ = programs(port, workers=0)
        self.start(web.arguments)
        return f"http://127.0.0.1:{port}"

    def kill_everything(self) -> None:
        for program in self.programs:
            if not program.ended:
                program.kill()
        self.server.kill()
        database.close_pools()
        connections["default"].close()

    def stop_programs(self) -> None:
        for program in self.programs:
            if not program.ended:
                program.stop()

    def ask(self, sql: str, *values: object) -> int:
        """The one number that a question has for its answer."""
        with database.connect("default") as conn:
            (number,) = conn.execute(sql, values).fetchone() or (0,)
        return int(number or 0)

    def pass_time(self, seconds: float) -> None:
        """Move the database's clock. Leases of workers that live run out by this as well."""
        with database.connect("default") as conn:
            conn.execute(
                "INSERT INTO messaging_clock AS c (ahead) VALUES (make_interval(secs => %b::float8))"
                " ON CONFLICT (only_row) DO UPDATE SET ahead = c.ahead + excluded.ahead",
                (seconds,),
            )

    def install_gates(self) -> None:
        """Make every call to a simulated provider pass a gate of the database. It is passed while
        the call's statement runs: a call that waits there goes on without its caller."""
        with database.connect("default") as conn:
            conn.execute(
                f"""CREATE FUNCTION test_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                        PERFORM pg_advisory_xact_lock_shared({GATE}, TG_ARGV[0]::int);
                        RETURN NULL;
                    END $$"""
            )
            for number, ledger in enumerate(LEDGERS.values()):
                conn.execute(
                    f"""CREATE TRIGGER test_gate BEFORE INSERT ON "{ledger}"
                        FOR EACH STATEMENT EXECUTE FUNCTION test_gate({number})"""
                )

    @contextmanager
    def closed(self, service: str) -> Iterator[None]:
        """Let all calls to a service's provider wait at the gate."""
        with database.connect("default") as conn:
            conn.execute(f"SELECT pg_advisory_lock({GATE}, %b::int)", (gate_of(service),))
            yield

    def calls_at(self, service: str) -> int:
        """How many calls wait at a gate."""
        return self.ask(f"SELECT count(*) {WAITING}", gate_of(service))

    def lose_calls_at(self, service: str) -> None:
        """Those calls never arrive."""
        self.ask(f"SELECT count(pg_terminate_backend(pid)) {WAITING}", gate_of(service))

    def audit(self) -> None:
        """Stop everything; then the books of all services and providers must agree."""
        self.stop_programs()
        audit.settle()
        assert audit.findings() == []


@pytest.fixture
def platform(
    own_migrated_server: Server,
    django_db_blocker: DjangoDbBlocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Platform]:
    """The seeded shop, with no process at work yet."""
    before = connections.settings["default"]
    monkeypatch.setitem(
        connections.settings, "default", before | {"OPTIONS": dict(before["OPTIONS"])}
    )
    databases._point("default", own_migrated_server.url)
    tenants.forget()
    running = Platform(own_migrated_server, tmp_path)
    with django_db_blocker.unblock():
        running.install_gates()
        call_command("seed", verbosity=0)
        audit.settle()
        try:
            yield running
        finally:
            for program in running.programs:
                if not program.ended:
                    program.kill()
                print(f"--- {program.log.name}\n{program.log.read_text()[-3000:]}")
            wakeup.close()
            database.close_pools()
            tenants.forget()
            connections["default"].close()
            del connections["default"]
