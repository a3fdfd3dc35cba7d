"""Runs some programs together: all of them, or none.

When one ends, the others are stopped and the run ends with an error that says which; the first
Ctrl-C or SIGTERM stops them all. Only one that may be `replaced`, and that was killed from outside, is
started again, and that is said. A program ends when the supervisor dies, too: see `child`.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from . import child

PATIENCE = 10.0  # for a program to finish what it is doing
PAUSE = 1.0  # before a program that was killed is started again: it may be killed at once
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Program:
    name: str
    arguments: list[str]  # an absolute path first
    replaced: bool = False  # started again when it was killed from outside


@dataclass(frozen=True)
class Ended:
    """A program that ended though nobody asked it to."""

    name: str
    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"{self.name} was killed by {signal.Signals(-self.code).name}"
        return f"{self.name} ended with exit code {self.code}"


def run(
    programs: list[Program],
    environment: dict[str, str],
    *,
    is_ready: Callable[[], bool],
    announce: Callable[[], None],
    say: Callable[[str], object],
) -> Ended | None:
    """Run until one of them ends, which is returned, or a signal asks to stop.

    `announce` is called once, when `is_ready`; `say` when one is started again.
    """
    replaced = {program.name: program for program in programs if program.replaced}

    def again(ended: Ended) -> subprocess.Popen[bytes] | None:
        """The process that takes the place of one that ended, if any may."""
        if ended.code >= 0 or ended.name not in replaced:
            return None
        time.sleep(PAUSE)
        say(f"{ended}; it is started again.")
        return _start(replaced[ended.name], environment)

    with _signals_noted() as noted:
        processes = {program.name: _start(program, environment) for program in programs}
        try:
            return _watch(processes, noted, is_ready, announce, again)
        finally:
            _stop(list(processes.values()))


@contextmanager
def _signals_noted() -> Iterator[int]:
    """Have signals written to the pipe that is returned, so that none is lost between two looks."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, _ignore) for number in (*STOPPING, signal.SIGCHLD)}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _ignore(*_: object) -> None:
    """A second Ctrl-C while everything is being stopped has nothing left to do."""


def _start(program: Program, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        child.command(program.arguments, dying_signal=signal.SIGTERM),
        stdin=subprocess.DEVNULL,
        env=environment,
        # A terminal sends Ctrl-C to its whole group; the order of stopping is ours.
        start_new_session=True,
    )


def _watch(
    processes: dict[str, subprocess.Popen[bytes]],
    noted: int,
    is_ready: Callable[[], bool],
    announce: Callable[[], None],
    again: Callable[[Ended], subprocess.Popen[bytes] | None],
) -> Ended | None:
    announced = False
    while True:
        for name, process in processes.items():
            if process.poll() is None:
                continue
            ended = Ended(name, process.returncode)
            successor = again(ended)
            if successor is None:
                return ended
            processes[name] = successor
        if not announced and is_ready():
            announce()
            announced = True
        # A program that ended just now is in the pipe, too; the limit is a second look.
        if select.select([noted], [], [], 5 if announced else 0.1)[0] and any(
            number in STOPPING for number in os.read(noted, 1000)
        ):
            return None


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + PATIENCE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, until - time.monotonic()))
    for process in processes:
        # Their own children as well, which a program that was killed could not stop.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
