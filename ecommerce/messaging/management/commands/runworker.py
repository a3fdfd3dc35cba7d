"""`manage.py runworker`: deliver messages, perform effects and keep deadlines until stopped."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging import policies
from ecommerce.messaging.errors import DatabaseAway, WiringError
from ecommerce.messaging.services import services
from ecommerce.messaging.worker import Worker

STOP_SECONDS = 30.0
LOOK_SECONDS = 0.2
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0
"""Seconds between tries to reach a database when a worker begins; each wait is twice the last."""

Process = subprocess.Popen[bytes]

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Deliver messages, perform effects and keep deadlines, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--processes", type=int, default=1, help="how many worker processes")
        parser.add_argument(
            "--services", help="comma-separated services to work for; all when not given"
        )

        parser.add_argument(
            "--topics",
            help="comma-separated topics of the policies; perform effects of these only",
        )

    def handle(
        self,
        *args: Any,
        processes: int,
        services: str | None,
        topics: str | None,
        **options: Any,
    ) -> None:
        names, taken = _chosen(services), _topics(topics)
        if processes == 1:
            _work(names, taken)
        else:
            _supervise(processes, names, taken)


def _chosen(given: str | None) -> list[str] | None:
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    known = {service.label for service in services()}
    unknown = sorted(set(names) - known)
    if unknown or not names:
        raise CommandError(f"no service is called {', '.join(unknown)}; there are {sorted(known)}")
    return names


def _topics(given: str | None) -> list[str] | None:
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    known = policies.topics()
    if not names or not known.issuperset(names):
        raise CommandError(f"no policy has such a topic as {given!r}; there are {sorted(known)}")
    return names


def _work(names: list[str] | None, topics: list[str] | None) -> None:
    """Work in this process until a signal.

    A handler runs in the middle of whatever the main thread does. That may hold the lock of the event
    that `stop` sets, so another thread sets it.
    """
    worker = _begun(names, topics)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=worker.stop).start())
    worker.run()


def _begun(names: list[str] | None, topics: list[str] | None) -> Worker:
    """A worker, once its databases can be reached. Until then it has nothing to finish, so a signal
    ends this process where it stands."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    wait = FIRST_WAIT
    while True:
        try:
            return Worker(names, topics)
        except WiringError as error:
            raise CommandError(str(error)) from error
        except DatabaseAway as error:
            logger.warning("%s; tried again in %g s", error, wait)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _supervise(processes: int, names: list[str] | None, topics: list[str] | None) -> None:
    """Run several workers. One that was killed is started again, so that a message which kills its
    workers comes to its end; when one ends by itself, stop the others and say so."""
    command = [sys.executable, sys.argv[0], "runworker"]
    command += ["--services", ",".join(names)] if names else []
    command += ["--topics", ",".join(topics)] if topics else []
    children = [subprocess.Popen(command) for _ in range(processes)]
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        for child in children:
            child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ended = None
    while ended is None and not stopped:
        time.sleep(LOOK_SECONDS)
        ended = _tend(children, command)
    for child in children:
        child.terminate()
    for child in children:
        child.wait(STOP_SECONDS)
    if ended is not None and not stopped:
        raise CommandError(f"worker process {ended.pid} ended with exit code {ended.returncode}")


def _tend(children: list[Process], command: list[str]) -> Process | None:
    """Put others in the places of those that were killed; return one that ended by itself."""
    for place, child in enumerate(children):
        code = child.poll()
        if code is not None and code >= 0:
            return child
        if code is not None:
            logger.warning("worker process %d was killed, another begins", child.pid)
            children[place] = subprocess.Popen(command)
    return None
