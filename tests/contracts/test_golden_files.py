"""A released message never changes: its golden file says what it was.

A new message, or a new version of one, gets its file by `python -m tests.contracts.write`.
"""

from __future__ import annotations

import pytest

from ecommerce.messaging.messages import Contract, contracts
from tests.contracts.write import HERE, golden_file, text


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.name)
def test_a_contract_is_what_its_golden_file_says(contract: Contract) -> None:
    path = golden_file(contract)
    assert path.exists(), f"{path.name} is missing: run `python -m tests.contracts.write`"
    assert path.read_text() == text(contract), f"{contract.name} changed: give it a new version"


def test_every_golden_file_has_a_contract() -> None:
    current = {contract.name: contract.version for contract in contracts()}
    for path in HERE.glob("*.json"):
        name, _, version = path.stem.rpartition(".v")
        assert name in current, f"{path.name}: rows of {name} could not be read any more"
        assert int(version) <= current[name], f"{path.name} is of a version that is gone"


def test_personal_fields_are_marked_in_the_golden_files() -> None:
    for contract in contracts():
        marked = text(contract).count('"personal": true')
        assert marked == len(contract.personal_fields), contract.name
        assert bool(marked) == (contract.person_field is not None), contract.name
