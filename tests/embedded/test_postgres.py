"""Throw-away servers, and the accounts that a server of root's can run as."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ecommerce.embedded import accounts, places, postgres
from ecommerce.embedded.errors import UnsafeDirectory
from ecommerce.embedded.postgres import Server


@pytest.fixture
def directory() -> Iterator[Path]:
    directory = places.throw_away_directory()
    yield directory
    shutil.rmtree(directory)


def test_a_durable_server_keeps_what_was_committed_when_it_is_killed(own_server: Server) -> None:
    for number in range(3):
        with psycopg.connect(own_server.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE note_{number} ()")
        own_server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(own_server.url)
        own_server.restart()

    with psycopg.connect(own_server.url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename ~ '^note'")
        assert tables.fetchone() == (3,)


def test_a_path_too_long_for_a_socket_is_no_obstacle(directory: Path) -> None:
    deep = directory / ("a" * 100)

    with postgres.server(deep, durable=False) as server:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        socket = places.socket_directory(deep)

    assert len(os.fsencode(socket / places.SOCKET)) <= places.LONGEST_SOCKET_PATH
    assert not deep.samefile(socket.parent)
    socket.rmdir()


def test_a_socket_in_a_directory_of_somebody_else_is_refused(directory: Path) -> None:
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    (directory / "run").symlink_to(elsewhere)

    with pytest.raises(UnsafeDirectory):
        places.make_private(directory / "run", os.getuid())


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root needs another account.")
def test_root_without_user_namespaces_runs_the_server_as_somebody_unprivileged(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_works_in_namespace", lambda *_: False)
    account = accounts.choose(directory)

    with postgres.server(directory, durable=False) as server:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert Path(f"/proc/{server.process.pid}").stat().st_uid == account.uid != 0

    shutil.rmtree(account.home)
