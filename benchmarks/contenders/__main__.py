"""One action of one peer, in a process of its own: see the package."""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main(name: str, action: str, *count: str) -> None:
    """Call the peer's function with the address of the database."""
    act = getattr(import_module(f".{name}", __package__), action)
    act(os.environ["DATABASE_URL"], *map(int, count))


if __name__ == "__main__":
    main(*sys.argv[1:])
