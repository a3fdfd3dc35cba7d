"""A released message never changes: its golden files say what it was, in every version.

A new message, or a new version of one, gets its file by `python -m tests.contracts.write`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecommerce.messaging.messages import Contract, contract_named, contracts, decode, encode
from tests.contracts.write import HERE, golden_file, text

RELEASED = sorted(HERE.glob("*.json"))


def released(path: Path) -> tuple[Contract, int]:
    """The contract that a golden file is of, and the version."""
    name, _, version = path.stem.rpartition(".v")
    return contract_named(name), int(version)


def example(path: Path) -> tuple[str, str | None]:
    """The columns of the message that stands in a golden file."""
    stored: dict[str, Any] = json.loads(path.read_text())["example"]
    payload, personal = stored["payload"], stored["personal"]
    return json.dumps(payload), personal and json.dumps(personal)


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    match value:
        case str():
            yield value
        case dict() | list():
            for inner in value.values() if isinstance(value, dict) else value:
                yield from texts(inner)


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.name)
def test_a_contract_is_what_its_golden_file_says(contract: Contract) -> None:
    path = golden_file(contract)
    assert path.exists(), f"{path.name} is missing: run `python -m tests.contracts.write`"
    assert path.read_text() == text(contract), f"{contract.name} changed: give it a new version"


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.name)
def test_every_version_that_was_ever_released_has_its_golden_file(contract: Contract) -> None:
    versions = range(1, contract.version + 1)
    missing = [v for v in versions if not golden_file(contract, v).exists()]
    assert missing == [], f"restore the golden files of {contract.name}: rows have these versions"


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_every_golden_file_has_a_contract_that_reads_it(path: Path) -> None:
    contract, version = released(path)
    assert version <= contract.version, f"{path.name} is of a version that is gone"

    message = decode(contract.name, version, *example(path))

    assert type(message) is contract.type
    if version == contract.version:
        stored = encode(message)
        assert json.loads(stored.payload) == json.loads(example(path)[0])


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_every_version_can_be_read_once_its_person_is_forgotten(path: Path) -> None:
    contract, version = released(path)
    payload, personal = example(path)

    message = decode(contract.name, version, payload, None)

    for said in texts(json.loads(personal or "{}")):
        assert said not in str(message)


def test_personal_fields_are_marked_in_the_golden_files() -> None:
    for contract in contracts():
        marked = text(contract).count('"personal": true')
        assert marked == len(contract.personal_fields), contract.name
        assert bool(marked) == (contract.person_field is not None), contract.name
