"""A web server under test: the platform's, as `manage.py serve` runs it, or the bare handler's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Literal

from ecommerce.embedded.management.commands.serve import HOST, answers, programs

from .options import Failed
from .server import family
from .workers import ROOT

START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Site:
    """Where it listens, and its process with all that it started."""

    port: int
    process: int

    @property
    def processes(self) -> list[int]:
        return family(self.process)


@contextmanager
def serving(
    kind: Literal["platform", "bare"] = "platform", environment: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """The platform as it runs in production, or the bare handler under the same web server."""
    port = _free_port()
    if kind == "platform":
        command = [sys.executable, "manage.py", "serve", "--port", str(port)]
        command += ["--workers", "0"]
    else:
        command = _bare(programs(port, 0)[0].arguments)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        yield Site(port, process.pid)
        if process.poll() is not None:
            raise Failed(f"the web server ended with exit code {process.returncode}")
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _bare(command: Sequence[str]) -> list[str]:
    """The command of the platform's web server, with the bare handler as its application."""
    *server, application = command
    if application != "ecommerce.asgi:application":
        raise Failed(f"the platform is served as {application}, which the bare handler is not")
    return [*server, "benchmarks.bare:application"]


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while not answers(port):
        if process.poll() is not None or time.monotonic() > until:
            raise Failed("the web server did not come to answer")
        time.sleep(0.05)
