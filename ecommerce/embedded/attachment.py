"""Uses the checkout's server from this process, and starts it when nobody does yet."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import locks, places
from .errors import StartFailed, StartTimedOut
from .postgres import DEADLINE


@dataclass(frozen=True)
class Attachment:
    users: int  # a shared lock, held until this process ends
    ready: int  # a lock that the keeper holds while the server takes connections


_attachments: dict[Path, Attachment] = {}
_attaching = threading.Lock()


def ensure_running(root: Path) -> None:
    """Return when the server of the checkout `root` takes connections; it then runs while we do.

    Cheap when it runs: called before each connect, so that a server that crashed is started again.
    """
    attachment = _attachments.get(root)
    if attachment is None or not locks.is_held_exclusively(attachment.ready):
        with _attaching:
            _attach(root)


def detach(root: Path, patience: float = 5.0) -> bool:
    """Stop using the server; whether it has stopped, as it does when nobody else uses it."""
    attachment = _attachments.pop(root, None)
    if attachment is None:
        return True
    locks.unlock(attachment.users)
    until = time.monotonic() + patience
    others_after = time.monotonic() + 1.0
    with locks.opened(places.server_directory(root) / "keeper.lock") as keeper:
        while locks.is_held_exclusively(keeper):
            still_serving = locks.is_held_exclusively(attachment.ready)
            if time.monotonic() > (others_after if still_serving else until):
                return False
            time.sleep(0.01)
    return True


def _attach(root: Path) -> None:
    until = time.monotonic() + DEADLINE
    directory = places.server_directory(root)
    attachment = _attachments.get(root)
    if attachment is None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        attachment = Attachment(
            users=locks.open_lock(directory / "users.lock"),
            ready=locks.open_lock(directory / "ready.lock"),
        )
        # Waits while a keeper stops the server.
        if not locks.wait_shared(attachment.users, until):
            raise StartTimedOut(_late(root, "The server has been stopping for too long."))
        _attachments[root] = attachment
    with locks.opened(directory / "keeper.lock") as keeper:
        while not locks.is_held_exclusively(attachment.ready):
            if time.monotonic() > until:
                raise StartTimedOut(_late(root, "The server was not ready in time."))
            if locks.is_held_exclusively(keeper):
                time.sleep(0.01)  # another process started it
            else:
                _start_keeper(root)


def _start_keeper(root: Path) -> None:
    """Start a keeper and wait for its answer."""
    with places.log_file(root).open("ab") as log:
        keeper = subprocess.run(
            [sys.executable, "-m", "ecommerce.embedded.keeper", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
            check=False,
            text=True,
        )
    if keeper.stdout or keeper.returncode:
        raise StartFailed(keeper.stdout.strip() or _late(root, "The server's keeper failed."))


def _late(root: Path, message: str) -> str:
    return f"{message} The log is {places.log_file(root)}."
