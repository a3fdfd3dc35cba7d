"""The checkout's server: who starts it, who stops it, and what a crash leaves."""

import os
import signal
import subprocess

import psycopg
import pytest

from ecommerce import embedded
from tests.embedded.conftest import Checkout, StartProgram, wait_until_ended


def read_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def leave(program: subprocess.Popen[str]) -> None:
    program.communicate(timeout=30)


def rows(checkout: Checkout) -> int:
    with psycopg.connect(checkout.url) as connection:
        found = connection.execute("SELECT count(*) FROM note").fetchone()
        assert found is not None
        return int(found[0])


def write_rows(checkout: Checkout) -> None:
    with psycopg.connect(checkout.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE note AS SELECT generate_series(1, 100)")


def test_the_last_program_that_leaves_stops_the_server(
    checkout: Checkout, start_program: StartProgram
) -> None:
    first = start_program(checkout.root)
    assert read_line(first) == "attached"
    server = checkout.server

    second = start_program(checkout.root)
    assert read_line(second) == "attached"
    assert checkout.server == server

    leave(first)
    write_rows(checkout)
    assert rows(checkout) == 100

    leave(second)
    checkout.wait_until_stopped()
    wait_until_ended(server)
    assert not (checkout.data / "postmaster.pid").exists()


def test_programs_that_start_together_share_one_server(
    checkout: Checkout, start_program: StartProgram
) -> None:
    programs = [start_program(checkout.root) for _ in range(5)]

    assert [read_line(program) for program in programs] == ["attached"] * 5
    with psycopg.connect(checkout.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_program_that_comes_while_the_server_stops_gets_a_new_one(
    checkout: Checkout, start_program: StartProgram
) -> None:
    first = start_program(checkout.root)
    assert read_line(first) == "attached"
    write_rows(checkout)
    server = checkout.server
    os.kill(checkout.keeper, signal.SIGTERM)

    second = start_program(checkout.root)

    assert read_line(second) == "attached"
    wait_until_ended(server)
    assert rows(checkout) == 100


def test_the_server_stops_cleanly_when_its_keeper_is_killed(
    checkout: Checkout, start_program: StartProgram
) -> None:
    program = start_program(checkout.root)
    assert read_line(program) == "attached"
    write_rows(checkout)
    server = checkout.server

    os.kill(checkout.keeper, signal.SIGKILL)

    wait_until_ended(server)
    assert not (checkout.data / "postmaster.pid").exists()
    assert read_line(start_program(checkout.root)) == "attached"
    assert rows(checkout) == 100


def test_nothing_is_lost_when_everything_is_killed(
    checkout: Checkout, start_program: StartProgram
) -> None:
    program = start_program(checkout.root)
    assert read_line(program) == "attached"
    write_rows(checkout)
    server, keeper = checkout.server, checkout.keeper

    # The server first: its keeper must not get to stop it cleanly.
    for pid in (server, keeper, program.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until_ended(keeper)

    assert (checkout.data / "postmaster.pid").exists()
    assert read_line(start_program(checkout.root)) == "attached"
    assert rows(checkout) == 100


def test_a_stale_process_id_that_is_somebody_elses_by_now_is_no_obstacle(
    checkout: Checkout, start_program: StartProgram
) -> None:
    program = start_program(checkout.root)
    assert read_line(program) == "attached"
    server, keeper = checkout.server, checkout.keeper
    left = (checkout.data / "postmaster.pid").read_text()
    leave(program)
    checkout.wait_until_stopped()
    wait_until_ended(keeper)
    (checkout.data / "postmaster.pid").write_text(left.replace(str(server), str(os.getpid()), 1))

    assert read_line(start_program(checkout.root)) == "attached"
    assert checkout.server != os.getpid()


def test_a_program_whose_server_crashed_gets_it_back(checkout: Checkout) -> None:
    embedded.ensure_running(checkout.root)
    write_rows(checkout)
    server, keeper = checkout.server, checkout.keeper
    os.kill(server, signal.SIGKILL)
    wait_until_ended(keeper)

    embedded.ensure_running(checkout.root)

    assert rows(checkout) == 100
    assert checkout.server != server
    assert embedded.detach(checkout.root)


def test_a_server_that_others_use_goes_on_when_we_leave(
    checkout: Checkout, start_program: StartProgram
) -> None:
    embedded.ensure_running(checkout.root)
    assert read_line(start_program(checkout.root)) == "attached"

    assert not embedded.detach(checkout.root)

    write_rows(checkout)


def test_a_start_that_fails_names_the_log(checkout: Checkout) -> None:
    embedded.ensure_running(checkout.root)
    assert embedded.detach(checkout.root)
    (checkout.data / "PG_VERSION").write_text("12\n")

    with pytest.raises(embedded.EmbeddedServerError) as error:
        embedded.ensure_running(checkout.root)

    assert str(checkout.root / ".local" / "postgres.log") in str(error.value)
    assert "initialized by PostgreSQL version 12" in str(error.value)
    assert embedded.detach(checkout.root)
