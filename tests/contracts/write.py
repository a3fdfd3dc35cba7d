"""Write the golden file of every message that has none: `python -m tests.contracts.write`.

A file that differs from its contract is left alone, since rows and brokers hold messages of that
version: give the contract a new version. `--unreleased` overwrites it, for a version that no
system has run with.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import django

from ecommerce.messaging.messages import Contract, contracts, schema

HERE = Path(__file__).parent


def golden_file(contract: Contract) -> Path:
    """Where a contract's golden file is."""
    return HERE / f"{contract.name}.v{contract.version}.json"


def text(contract: Contract) -> str:
    """What stands in it."""
    return json.dumps(schema(contract), indent=2, sort_keys=True) + "\n"


def write(*, unreleased: bool) -> list[str]:
    """Write the files; return the names of contracts that changed without a new version."""
    changed = []
    for contract in contracts():
        path = golden_file(contract)
        if not path.exists() or (unreleased and path.read_text() != text(contract)):
            path.write_text(text(contract))
            print(f"wrote {path.name}")
        elif path.read_text() != text(contract):
            changed.append(contract.name)
    return changed


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ecommerce.settings")
    django.setup()
    if changed := write(unreleased="--unreleased" in sys.argv):
        raise SystemExit(f"changed without a new version: {', '.join(changed)}")


if __name__ == "__main__":
    main()
