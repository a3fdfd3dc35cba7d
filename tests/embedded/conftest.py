"""A checkout of this test's own, and programs that use its server as `manage.py` does."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecommerce.embedded import locks, places

DEADLINE = 30.0
PROGRAM = """
import sys
from pathlib import Path
from ecommerce import embedded
embedded.ensure_running(Path(sys.argv[1]))
print("attached", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Checkout:
    """A directory with, perhaps, a server of its own."""

    root: Path

    @property
    def url(self) -> str:
        return places.database_url(self.root)

    @property
    def data(self) -> Path:
        return places.server_directory(self.root) / "data"

    @property
    def server(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def keeper(self) -> int:
        return int(Path(f"/proc/{self.server}/stat").read_text().rpartition(")")[2].split()[1])

    def wait_until_stopped(self) -> None:
        with locks.opened(places.server_directory(self.root) / "keeper.lock") as keeper:
            assert locks.wait_shared(keeper, time.monotonic() + DEADLINE), "The server still runs."


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    root = places.throw_away_directory()
    found = Checkout(root)
    yield found
    if places.server_directory(root).exists():
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(found.keeper, signal.SIGTERM)
        found.wait_until_stopped()
    shutil.rmtree(root)


StartProgram = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def start_program() -> Iterator[StartProgram]:
    """Start a program that uses the server of a checkout until its input ends."""
    programs = []

    def start(root: Path) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()


def wait_until_ended(pid: int) -> None:
    """For a process that is not our child, and so cannot be waited for."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([process], [], [], DEADLINE)
    os.close(process)
    assert ended, f"The process {pid} still runs."
