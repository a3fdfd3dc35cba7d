"""`manage.py serve`: its messages, and programs that live and die together."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from ecommerce.embedded import supervisor
from ecommerce.embedded.supervisor import Ended, Program
from tests.embedded.conftest import wait_until_ended

WAITING = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); sys.stdin.close(); import signal; signal.pause()"


def waiting(name: str, notes: Path) -> Program:
    return Program(name, [sys.executable, "-c", WAITING, str(notes / name)])


def pid_of(name: str, notes: Path) -> int | None:
    note = notes / name
    text = note.read_text() if note.exists() else ""
    return int(text) if text else None


def test_a_port_that_is_taken_is_named_with_another_to_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(CommandError, match=f"Port {port} is taken.*PORT={port + 1} make run"):
            call_command("serve", port=port)


def test_when_one_program_ends_the_others_are_stopped(tmp_path: Path) -> None:
    failing = Program("failing", [sys.executable, "-c", "import sys; sys.exit(3)"])

    ended = supervisor.run(
        [waiting("waiting", tmp_path), failing],
        dict(os.environ),
        is_ready=lambda: False,
        announce=lambda: None,
        say=print,
    )

    assert ended == Ended("failing", 3)
    assert str(ended) == "failing ended with exit code 3"
    if pid := pid_of("waiting", tmp_path):
        wait_until_ended(pid)


def test_a_signal_stops_all_programs(tmp_path: Path) -> None:
    both = ("one", "other")

    ended = supervisor.run(
        [waiting(name, tmp_path) for name in both],
        dict(os.environ),
        is_ready=lambda: all(pid_of(name, tmp_path) for name in both),
        announce=lambda: os.kill(os.getpid(), signal.SIGINT),
        say=print,
    )

    assert ended is None
    for name in both:
        pid = pid_of(name, tmp_path)
        assert pid is not None
        wait_until_ended(pid)


def test_programs_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    supervising = os.fork()
    if supervising == 0:
        supervisor.run(
            [waiting("orphan", tmp_path)],
            dict(os.environ),
            is_ready=lambda: pid_of("orphan", tmp_path) is not None,
            announce=lambda: os.kill(os.getpid(), signal.SIGKILL),
            say=print,
        )

    os.waitpid(supervising, 0)

    pid = pid_of("orphan", tmp_path)
    assert pid is not None
    wait_until_ended(pid)


def test_only_a_program_that_was_killed_and_may_be_replaced_is_started_again(
    tmp_path: Path,
) -> None:
    # given two programs, of which one kills itself when it runs for the first time
    once = "import os, sys, pathlib\nnote = pathlib.Path(sys.argv[1])\nnote.write_text(note.read_text() + 'x' if note.exists() else 'x')\nos.kill(os.getpid(), 9) if note.read_text() == 'x' else sys.exit(4)"
    deadly = Program("deadly", [sys.executable, "-c", once, str(tmp_path / "lives")], replaced=True)
    said: list[str] = []

    # when they are run
    ended = supervisor.run(
        [waiting("waiting", tmp_path), deadly],
        dict(os.environ),
        is_ready=lambda: False,
        announce=lambda: None,
        say=said.append,
    )

    # then it is started again, and its ending by itself ends them all
    assert ended == Ended("deadly", 4)
    assert said == ["deadly was killed by SIGKILL; it is started again."]
    assert (tmp_path / "lives").read_text() == "xx"
