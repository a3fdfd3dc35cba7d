"""The process that owns a checkout's server: `python -m ecommerce.embedded.keeper ROOT`.

Run by `attachment`, not by people. It leaves its parent, starts the server, and stops it when no
process uses it. Whoever started it reads its standard output: closed and empty when the server is
ready, or when another keeper has it; otherwise the reason why it is not.
"""

import os
import signal
import sys
from pathlib import Path

from . import locks, places
from .errors import EmbeddedServerError
from .postgres import Server

PATIENCE = 0.25  # how often to look whether the last user has gone
LARGEST_LOG = 10_000_000
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def main(root: Path) -> int:
    directory = places.server_directory(root)
    keeper = locks.open_lock(directory / "keeper.lock")
    if not locks.try_exclusive(keeper):
        return 0
    # Blocked, and taken one at a time in `_keep`: none is lost between two looks.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    log = places.log_file(root)
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.old"))
    server = Server(directory, log=log)
    try:
        server.start()
    except (EmbeddedServerError, OSError) as error:
        print(error, flush=True)
        return 1
    ready = locks.open_lock(directory / "ready.lock")
    locks.wait_exclusive(ready)
    _close_standard_output()
    return _keep(server, directory, ready)


def _keep(server: Server, directory: Path, ready: int) -> int:
    users = locks.open_lock(directory / "users.lock")
    while server.process.poll() is None:
        received = signal.sigtimedwait(SIGNALS, PATIENCE)
        asked_to_stop = received is not None and received.si_signo != signal.SIGCHLD
        # With this lock held no newcomer attaches: it waits, and then starts another keeper.
        if asked_to_stop or locks.try_exclusive(users):
            locks.unlock(ready)
            server.stop()
            return 0
    return 1


def _leave_parent() -> None:
    """Become nobody's child, in a session without a terminal: Ctrl-C is for the others."""
    if os.fork():
        os._exit(0)
    os.setsid()


def _close_standard_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    _leave_parent()
    sys.exit(main(Path(sys.argv[1])))
