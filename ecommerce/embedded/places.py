"""Where the embedded server keeps its files, and the URL that leads to it."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from .errors import UnsafeDirectory

USER = "ecommerce"
DATABASE = "ecommerce"
PORT = 5432  # only a part of the socket's name: nothing listens on the network
SOCKET = f".s.PGSQL.{PORT}"
LONGEST_SOCKET_PATH = 106  # sun_path has 108 bytes with the closing zero; one to spare


def server_directory(root: Path) -> Path:
    """The server's directory in the checkout `root`."""
    return root.resolve() / ".local" / "postgres"


def log_file(root: Path) -> Path:
    return root.resolve() / ".local" / "postgres.log"


def database_url(root: Path) -> str:
    """The URL of the checkout's own server, whether it runs or not."""
    return url(socket_directory(server_directory(root)))


def url(socket: Path, database: str = DATABASE) -> str:
    return f"postgresql://{USER}@/{database}?host={quote(str(socket), safe='')}&port={PORT}"


def socket_directory(directory: Path) -> Path:
    """Beside the data, or in a short place when the system could not open so long a path."""
    beside = directory / "run"
    # A comma would make two directories of it, for the server as for its clients.
    if len(os.fsencode(beside / SOCKET)) <= LONGEST_SOCKET_PATH and "," not in str(beside):
        return beside
    short = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = Path(short if 0 < len(short) <= 40 else "/tmp")
    return parent / f"ecommerce-{os.getuid()}-{fingerprint(directory)}"


def fingerprint(directory: Path) -> str:
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]


def make_private(directory: Path, owner: int) -> None:
    """Create the directory for `owner` alone. Raises UnsafeDirectory when it is not."""
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    else:
        os.chown(directory, owner, -1)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise UnsafeDirectory(
            f"{directory} is not a directory of the user {owner} who runs the server. Remove it."
        )
    directory.chmod(0o700)


def throw_away_directory() -> Path:
    """A new private directory with a short path."""
    return Path(tempfile.mkdtemp(prefix="ecommerce-"))
