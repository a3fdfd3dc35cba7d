"""The shop in processes, with `analytics` in another database, over one of the transports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings

from tests.crashes.conftest import Program
from tests.messaging.steps import fetch
from tests.transports.brokers import Broker, until

MANAGE = settings.BASE_DIR / "manage.py"


class Running:
    """Starts what the transport needs; a test kills, starts again, or adds to it."""

    def __init__(self, broker: Broker | None, away: dict[str, str], directory: Path) -> None:
        self.broker = broker
        self.directory = directory
        self.programs: list[Program] = []
        self._environment = os.environ | {
            f"{label.upper()}_DATABASE_URL": _with_name(os.environ["DATABASE_URL"], name)
            for label, name in away.items()
        }
        if broker is not None:
            self._environment |= {
                "MESSAGING_TRANSPORT": "celery",
                "CELERY_BROKER_URL": broker.url,
            }

    def worker(self, **variables: str) -> Program:
        """`runworker`, which copies, or sends to the broker."""
        return self.start([sys.executable, str(MANAGE), "runworker"], **variables)

    def receiver(self, **variables: str) -> Program:
        """`celery worker`, which stores what the broker carries."""
        options = ["--pool", "threads", "--concurrency", "2", "--without-gossip", "-l", "warning"]
        options += ["--without-mingle"]
        return self.celery("worker", *options, **variables)

    def everything(self) -> None:
        self.worker()
        if self.broker is not None:
            self.receiver()

    def celery(self, *arguments: str, **variables: str) -> Program:
        command = [sys.executable, "-m", "celery", "-A", "ecommerce", *arguments]
        return self.start(command, **variables)

    def manage(self, *arguments: str) -> None:
        """Run a command to its end; it must succeed."""
        subprocess.run([sys.executable, MANAGE, *arguments], env=self._environment, check=True)

    def start(self, command: list[str], **variables: str) -> Program:
        log = self.directory / f"{len(self.programs)}.log"
        self.programs.append(Program(command, self._environment | variables, log))
        return self.programs[-1]

    def kill_all(self) -> None:
        for program in self.programs:
            if not program.ended:
                program.kill()

    def logs(self) -> str:
        return "\n".join(program.log.read_text() for program in self.programs)

    @contextmanager
    def asleep(self, program: Program) -> Iterator[None]:
        """Stop a process where it stands, as a machine that hangs."""
        program.send(signal.SIGSTOP)
        yield
        program.send(signal.SIGCONT)


def delivered_once() -> bool:
    """Whether everything in analytics' inbox has been delivered, each message once a handler."""
    waiting = fetch(
        "analytics",
        """SELECT count(*) FROM {inbox} i JOIN {partition} p ON p.number = i.partition
           WHERE i.position > coalesce((p.positions->>'inbox')::bigint, 0)""",
    )
    twice = fetch(
        "analytics",
        """SELECT handler, message_id FROM {delivery} WHERE outcome = 'done'
           GROUP BY handler, message_id HAVING count(*) > 1""",
    )
    assert twice == []
    return waiting == [(0,)]


def wait_until_delivered() -> None:
    until(delivered_once)


def _with_name(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
