"""The benchmarks' own PostgreSQL server, thrown away afterwards, and what it costs.

Every run gets a clone of one prepared database, always under the same name, so that Django need
not be told. CPU times come from /proc and are those of whole processes.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from ecommerce.embedded import places, postgres

TICK = os.sysconf("SC_CLK_TCK")
CALM = {"max_wal_size": "8GB", "checkpoint_timeout": "30min"}
"""Settings that keep checkpoints out of the runs."""
OBSERVED = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "10000",
}
"""Settings for the runs that ask which statements cost what; the others do without."""


class Server:
    """A running server with the databases of a benchmark."""

    def __init__(self, directory: Path, settings: dict[str, str], *, durable: bool) -> None:
        self._server = postgres.Server(directory, durable=durable)
        self._server.settings = {**self._server.settings, **settings}
        self._server.start()

    @property
    def url(self) -> str:
        """The database that runs use."""
        return self._server.url

    @property
    def process(self) -> int:
        return self._server.process.pid

    def restart(self, settings: Mapping[str, str | None]) -> None:
        """Stop, and start with further settings, or without those that are None."""
        self._server.stop()
        changed = {**self._server.settings, **settings}
        self._server.settings = {k: v for k, v in changed.items() if v is not None}
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def elsewhere(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection to another database: it counts in nobody's statistics."""
        return psycopg.connect(self.url, dbname="postgres", autocommit=True)

    def keep(self, name: str) -> None:
        """Keep the database as it is now, to be cloned."""
        self._copy(places.DATABASE, name)

    def clone(self, name: str) -> None:
        """Put a fresh copy of a kept database in place, and all of it on disk."""
        self._copy(name, places.DATABASE)
        with self.elsewhere() as conn:
            conn.execute("CHECKPOINT")

    def fresh(self, name: str) -> str:
        """Make an empty database and return its address."""
        with self.elsewhere() as conn:
            conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            conn.execute(f'CREATE DATABASE "{name}"')
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def settled(self) -> None:
        """Wait until everybody has left the database, so that its statistics are complete."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        with self.elsewhere() as conn:
            while conn.execute(sql, [places.DATABASE]).fetchone() != (0,):
                time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """What all of its processes have used, those that have ended included."""
        ticks = sum(_stat(self.process)[11:15])
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                fields = _stat(int(entry.name))
                ticks += sum(fields[11:13]) if fields[1] == self.process else 0
        return ticks / TICK

    def _copy(self, source: str, target: str) -> None:
        with self.elsewhere() as conn:
            conn.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            conn.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')


@contextmanager
def throw_away_server(*, durable: bool) -> Iterator[Server]:
    """A server in a temporary directory that is removed afterwards; fsync is on if it is durable."""
    directory = places.throw_away_directory()
    try:
        server = Server(directory, CALM, durable=durable)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def cpu_seconds(processes: Iterable[int]) -> float:
    """What these processes have used so far, with all their threads and ended children."""
    return sum(sum(_stat(process)[11:15]) for process in processes) / TICK


def family(process: int) -> list[int]:
    """A process and all that it started, directly or not."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = _stat(int(entry.name))[1]
    found = [process]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def memory(process: int) -> float:
    """The resident memory of a process, in MiB."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def rows_written(server: Server) -> dict[str, tuple[int, int, int]]:
    """Rows inserted, updated and deleted since the clone was made, by table.

    The days of a partitioned table are added up. Ask when `settled`.
    """
    with psycopg.connect(server.url) as conn:
        rows = conn.execute(
            """SELECT coalesce(parent.relname, s.relname), sum(n_tup_ins)::int,
                      sum(n_tup_upd)::int, sum(n_tup_del)::int
               FROM pg_stat_user_tables s
               LEFT JOIN pg_inherits i ON i.inhrelid = s.relid
               LEFT JOIN pg_class parent ON parent.oid = i.inhparent
               GROUP BY 1 HAVING sum(n_tup_ins + n_tup_upd + n_tup_del) > 0 ORDER BY 1"""
        ).fetchall()
    return {name: (inserted, updated, deleted) for name, inserted, updated, deleted in rows}


def _stat(process: int) -> list[int]:
    """The numbers of /proc/PID/stat behind the state: from parent (index 1) on; see proc(5)."""
    text = Path(f"/proc/{process}/stat").read_text()
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]
