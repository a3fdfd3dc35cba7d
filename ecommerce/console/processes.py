"""Worker processes of this installation on this machine, to be killed, or to stand still for a while.

A worker's name tells its host and process. Before a signal is sent, that process must be one that
runs `runworker` of this very installation, for the same user: a name in a table proves nothing, and
the system gives numbers of processes to others. So what is looked at, and gets the signal, is held
by a handle that stands for one process only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from ecommerce.messaging.delivery import HOST
from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.fleet import Member

from . import freezer

LONGEST_FREEZE = 60
FROZEN = "T"
"""What the system calls the state of a process that stands still."""


@dataclass(frozen=True)
class Process:
    """A worker's process, and whether it stands still."""

    worker: str
    pid: int
    frozen: bool


def here(members: Sequence[Member]) -> list[Process]:
    """Those of these workers that are processes on this machine, and that signals can reach."""
    return sorted(
        (
            Process(member.name, pid, _state(pid) == FROZEN)
            for member in members
            if member.state != "left" and (pid := _pid(member.name)) and _is_worker(pid)
        ),
        key=lambda process: process.pid,
    )


def kill(worker: str, members: Sequence[Member]) -> None:
    """End a worker at once, whatever it is doing. Raises Conflict when it is not here."""
    with _grasp(worker, members) as process, suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)


def freeze(worker: str, seconds: int, members: Sequence[Member]) -> None:
    """Let a worker stand still for so long: it goes on by itself, also when nobody is left who
    remembers. Raises Conflict when it is not here."""
    with _grasp(worker, members) as process:
        command = [sys.executable, "-I", "-S", freezer.__file__, str(process), str(seconds)]
        subprocess.run(command, pass_fds=(process,), stdin=subprocess.DEVNULL, check=True)


def thaw(worker: str, members: Sequence[Member]) -> None:
    """Let a worker go on now. Raises Conflict when it is not here."""
    with _grasp(worker, members) as process, suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGCONT)


@contextmanager
def _grasp(worker: str, members: Sequence[Member]) -> Iterator[int]:
    """A handle of a worker's process. Raises Conflict for whatever is no worker here."""
    known = any(member.name == worker and member.state != "left" for member in members)
    pid = _pid(worker) if known else None
    gone = Conflict(f"{worker!r} is no worker on this machine: load the page again")
    if pid is None:
        raise gone
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise gone from None
    try:
        if not _is_worker(pid):
            raise gone
        yield handle
    finally:
        os.close(handle)


def _pid(worker: str) -> int | None:
    """The process that a name tells, if it is one of this machine."""
    host, _, rest = worker.rpartition(":")[0].rpartition(":")
    if host != HOST or not rest.isdecimal():
        return None
    return int(rest)


def _is_worker(pid: int) -> bool:
    place = Path("/proc", str(pid))
    try:
        if place.stat().st_uid != os.getuid():
            return False
        arguments = place.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
        where = place.joinpath("cwd").readlink()
    except OSError:
        return False
    script = next((each for each in arguments if Path(each).name == "manage.py"), None)
    ours = script is not None and (where / script).resolve() == settings.BASE_DIR / "manage.py"
    return ours and "runworker" in arguments


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
