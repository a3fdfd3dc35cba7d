"""Sets up, starts and stops one PostgreSQL server as a child of this process.

    with postgres.server(directory, durable=False) as server:
        psycopg.connect(server.url)

The server ends with the process, however that ends. Start it from the main thread: see `child`.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import child, places
from .accounts import Account, choose
from .errors import StartFailed, StartTimedOut

DEADLINE = 60.0  # for a start with the recovery after a crash

SETTINGS = {
    "listen_addresses": "",
    "port": str(places.PORT),
    "max_connections": "200",
    "shared_buffers": "256MB",
    "huge_pages": "off",
    "random_page_cost": "1.1",  # a solid-state disk
    "max_wal_size": "2GB",
    "jit": "off",  # costs more than it saves on short statements
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a ",
}
# For servers that are thrown away: nothing survives a crash of the machine, and the last commits do
# not survive one of the server.
NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "shared_buffers": "128MB",
}


class Server:
    """One server with its files in one directory."""

    def __init__(self, directory: Path, *, durable: bool = True, log: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.log = log or self.directory / "postgres.log"
        self.settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
        self.durable = durable
        self._socket = places.socket_directory(self.directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return places.url(self._socket)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "The server was not started."
        return self._process

    def start(self, deadline: float = DEADLINE) -> None:
        """Return when the server takes connections. Sets it up when it is new."""
        until = time.monotonic() + deadline
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = choose(self.directory)
        socket = self._prepare_socket_directory(account)
        data = account.home / "data"
        if not data.exists():
            self._create_data(account, data)
        self._wait_until_unused(data, until)
        # Now these are from a crash, and the process id in them may be somebody else's by now, or a
        # dead process's that was not waited for: the server would refuse to start.
        (data / "postmaster.pid").unlink(missing_ok=True)
        (socket / f"{places.SOCKET}.lock").unlink(missing_ok=True)
        arguments = [str(account.binaries / "postgres"), "-D", str(data), "-k", str(socket)]
        for name, value in self.settings.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                child.command(arguments, dying_signal=signal.SIGINT, account=account.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        self._wait_until_ready(data, until)

    def stop(self) -> None:
        """Stop cleanly: open transactions are rolled back, and the next start needs no recovery."""
        if self.process.poll() is not None:
            return
        for patience, demand in ((20, signal.SIGINT), (5, signal.SIGQUIT), (5, signal.SIGKILL)):
            self.process.send_signal(demand)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=patience)
                return

    def kill(self) -> None:
        """Crash: `kill -9`, and nothing else."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Stop, unless it was killed, and start again with the same data."""
        self.stop()
        self.start()

    def _prepare_socket_directory(self, account: Account) -> Path:
        """The directory to listen in; clients find it at `self._socket`, through a link if need be."""
        if account.home == self.directory:
            self._socket.unlink() if self._socket.is_symlink() else None
            places.make_private(self._socket, account.uid)
            return self._socket
        elsewhere = account.home / "run"
        places.make_private(elsewhere, account.uid)
        if not self._socket.is_symlink() or self._socket.readlink() != elsewhere:
            with suppress(FileNotFoundError):
                self._socket.rmdir() if not self._socket.is_symlink() else self._socket.unlink()
            self._socket.symlink_to(elsewhere)
        return elsewhere

    def _create_data(self, account: Account, data: Path) -> None:
        # Under another name until it is complete, so that one that was interrupted is not taken for it.
        unfinished = data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        initdb = [str(account.binaries / "initdb"), "-D", str(unfinished), "-U", places.USER]
        # The built-in locale sorts the same on every system.
        initdb += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        initdb += ["--builtin-locale=C.UTF-8", "--auth=trust"]
        initdb += [] if self.durable else ["--no-sync"]
        self._run(initdb, account)
        single = [str(account.binaries / "postgres"), "--single", "-D", str(unfinished)]
        single += [] if self.durable else ["-c", "fsync=off"]
        self._run([*single, "postgres"], account, f"CREATE DATABASE {places.DATABASE};\n")
        unfinished.rename(data)

    def _run(self, arguments: list[str], account: Account, script: str = "") -> None:
        done = subprocess.run(
            child.command(arguments, dying_signal=signal.SIGKILL, account=account.name),
            input=script.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(),
            check=False,
        )
        with self.log.open("ab") as log:
            log.write(done.stdout)
        if done.returncode != 0:
            raise StartFailed(self._with_log(f"{Path(arguments[0]).name} failed."))

    def _wait_until_unused(self, data: Path, until: float) -> None:
        """Wait for what is left of a server whose owner was killed: it is stopping by itself."""
        while _processes_in(data):
            if time.monotonic() > until:
                raise StartTimedOut(
                    self._with_log(f"Processes {_processes_in(data)} still use {data}.")
                )
            time.sleep(0.01)

    def _wait_until_ready(self, data: Path, until: float) -> None:
        while not self._is_ready(data):
            if self.process.poll() is not None:
                raise StartFailed(self._with_log("PostgreSQL ended before it was ready."))
            if time.monotonic() > until:
                self.stop()
                raise StartTimedOut(
                    self._with_log(
                        "PostgreSQL was not ready in time; it may need longer to recover."
                    )
                )
            time.sleep(0.005)

    def _is_ready(self, data: Path) -> bool:
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The process id tells it from a file that another server left.
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def _with_log(self, message: str) -> str:
        with suppress(FileNotFoundError):
            last = self.log.read_text(errors="replace").splitlines()[-5:]
            return "\n".join([f"{message} The log is {self.log}, and ends with:", *last])
        return message


@contextmanager
def server(directory: Path, *, durable: bool = True) -> Iterator[Server]:
    """A server with its files in `directory`, running."""
    running = Server(directory, durable=durable)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def _environment() -> dict[str, str]:
    # PGPORT, PGDATA, PGOPTIONS and the like would be taken for ours.
    return {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))} | {"LANG": "C"}


def _processes_in(data: Path) -> list[int]:
    """The processes whose working directory is the data directory: this server's, and no others'."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == data:
                found.append(int(entry.name))
    return found
