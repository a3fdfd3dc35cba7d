"""Becomes another program, one that ends when its parent does.

    python -I -S child.py PARENT_PID SIGNAL ACCOUNT PROGRAM [ARGUMENT ...]

The system sends SIGNAL when the parent has died, by `kill -9` too, so nothing outlives it. A script
instead of a `preexec_fn`: that runs Python between fork and exec, which can hang in a process with
threads. The signal comes when the *thread* that started the child ends: start it from the main one.

ACCOUNT is `same`; `UID:GID`; or `namespace`, for root: PostgreSQL refuses to run as root, and in a
user namespace root is `nobody` to the program, and still the owner of its files to the system.

Runs without the site packages, and must start fast: no imports of ours.
"""

# All of it now: after a change of account the library may be out of reach.
import ctypes
import os
import signal
import sys
from pathlib import Path

NOBODY = 65534
PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def main() -> None:
    parent, signal_number, account, *command = sys.argv[1:]
    if account == "namespace":
        _enter_user_namespace()
    elif account != "same":
        uid, gid = map(int, account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of account: that would clear it.
    if sys.platform == "linux":
        _call("prctl", PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("The parent has gone.")
    # The parent may wait for its signals with them blocked; the program wants to get its own.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execv(command[0], command)


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def command(
    arguments: list[str], *, dying_signal: signal.Signals, account: str = "same"
) -> list[str]:
    """The command line that runs `arguments` (an absolute path first) as such a child."""
    return [
        *(sys.executable, "-I", "-S", __file__),
        *(str(os.getpid()), str(int(dying_signal)), account),
        *arguments,
    ]


if __name__ == "__main__":
    main()
