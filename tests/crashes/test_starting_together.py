"""Several processes begin a new version at once, and one of them dies at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ecommerce.embedded.postgres import Server
from ecommerce.messaging.management.commands.migrate import LOCK
from tests.crashes.conftest import MANAGE, Program
from tests.journeys.shop import until

DJANGOS_OWN = (
    "import django; django.setup();"
    "from django.core.management import call_command;"
    "from django.core.management.commands.migrate import Command;"
    "call_command(Command(), 'contenttypes', verbosity=0)"
)
HOLDERS = f"""
    SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.objid = {LOCK} AND l.granted = %s"""

Start = Callable[..., Program]


@pytest.fixture
def start(own_server: Server, tmp_path: Path) -> Iterator[Start]:
    """Start a program on an empty database."""
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        inherited = {k: v for k, v in os.environ.items() if not k.endswith("_DATABASE_URL")}
        environment = inherited | {
            "DATABASE_URL": own_server.url,
            "DJANGO_SETTINGS_MODULE": "ecommerce.settings",
        }
        log = tmp_path / f"{len(programs)}.log"
        programs.append(Program([sys.executable, *arguments], environment, log))
        return programs[-1]

    yield start
    for program in programs:
        if not program.ended:
            program.kill()
        print(program.log.read_text()[-2000:])


@pytest.fixture
def observer(own_server: Server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(own_server.url, autocommit=True) as conn:
        yield conn


def names(observer: psycopg.Connection, *, holding: bool) -> list[str]:
    return [name for (name,) in observer.execute(HOLDERS, [holding]).fetchall()]


def tables(observer: psycopg.Connection) -> int:
    row = observer.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    return int(row[0]) if row else 0


def test_five_migrate_at_once_and_one_is_killed_at_it(
    start: Start, observer: psycopg.Connection
) -> None:
    # given
    programs = [start(str(MANAGE), "migrate", "--verbosity", "0") for _ in range(5)]
    # when the one that migrates is killed, in the middle of it
    until(lambda: tables(observer) > 10, seconds=60)
    (doomed,) = names(observer, holding=True)
    (killed,) = (p for p in programs if doomed == f"migrate:{p.pid}")
    killed.kill()
    # then the others do the rest, one after the other
    rest = [program for program in programs if program is not killed]
    until(lambda: all(program.ended for program in rest), seconds=90)
    assert [program.log.read_text() for program in rest if program.exit_code] == []
    assert names(observer, holding=True) == []
    (missing,) = observer.execute("SELECT 64 - count(*) FROM analytics_partition").fetchone() or (
        1,
    )
    assert missing == 0


def test_whoever_comes_while_another_migrates_waits(
    start: Start, observer: psycopg.Connection
) -> None:
    observer.execute("SELECT pg_advisory_lock(%s::bigint)", [LOCK])
    second = start(str(MANAGE), "migrate", "contenttypes", "--verbosity", "0")
    until(lambda: names(observer, holding=False), seconds=60)
    assert tables(observer) == 0

    observer.execute("SELECT pg_advisory_unlock(%s::bigint)", [LOCK])

    until(lambda: second.ended, seconds=60)
    assert tables(observer) > 0


def test_control_djangos_own_command_does_not_wait(
    start: Start, observer: psycopg.Connection
) -> None:
    observer.execute("SELECT pg_advisory_lock(%s::bigint)", [LOCK])

    start("-c", DJANGOS_OWN)

    until(lambda: tables(observer) > 0, seconds=60)
