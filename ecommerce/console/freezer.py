"""Lets a process stand still for some seconds, and then go on.

    python -I -S freezer.py HANDLE SECONDS

A program of its own, which outlives whoever starts it: a process that nobody wakes would stand still
for ever. HANDLE is a descriptor of the process, which is inherited. Needs nothing but the library.
"""

import os
import signal
import sys
import time
from contextlib import suppress


def main() -> None:
    handle, seconds = int(sys.argv[1]), float(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        if os.fork():
            return  # whoever waits for the start need not wait for the end
        os.setsid()
        try:
            time.sleep(seconds)
        finally:
            signal.pidfd_send_signal(handle, signal.SIGCONT)


if __name__ == "__main__":
    main()
