"""Write the golden file of every message that has none: `python -m tests.contracts.write`.

A file that differs from its contract is left alone, since rows and brokers hold messages of that
version: give the contract a new version. `--unreleased` overwrites it, for a version that no
system has run with. Files of older versions stay as long as the contract does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import django
import msgspec
from msgspec import inspect

from ecommerce.messaging.messages import Contract, Encoded, contracts, encode, schema

HERE = Path(__file__).parent
PLAIN: dict[type[inspect.Type], Any] = {
    inspect.IntType: 7,
    inspect.BoolType: True,
    inspect.DateTimeType: "2026-03-01T23:30:00+01:00",
    inspect.DateType: "2026-03-01",
    inspect.UUIDType: "01957c5e-0000-7000-8000-000000000000",
}


def golden_file(contract: Contract, version: int | None = None) -> Path:
    """Where a contract's golden file is; that of the current version unless one is named."""
    return HERE / f"{contract.name}.v{version or contract.version}.json"


def golden(contract: Contract) -> dict[str, Any]:
    """What stands in it: the contract, and a message as rows hold it."""
    stored = example(contract)
    columns = {"payload": stored.payload, "personal": stored.personal}
    return schema(contract) | {"example": {
        name: text and json.loads(text) for name, text in columns.items()
    }}  # fmt: skip


def example(contract: Contract) -> Encoded:
    """A message of this contract in which every field has a value."""
    fields = _value(inspect.type_info(contract.type))
    return encode(msgspec.convert(fields, contract.type))


def text(contract: Contract) -> str:
    return json.dumps(golden(contract), indent=2, sort_keys=True) + "\n"


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


def _value(of: inspect.Type, name: str = "key") -> Any:
    """What a field of this name may hold, as JSON has it; texts say which field they are."""
    value: Any
    match of:
        case inspect.StrType():
            value = f"some {name}"
        case inspect.Metadata(type=inner):
            value = _value(inner, name)
        case inspect.StructType(fields=fields, tag_field=tag_field, tag=tag):
            value = {field.encode_name: _value(field.type, field.name) for field in fields}
            value |= {tag_field: tag} if tag_field else {}
        case inspect.UnionType(types=alternatives):
            value = _value(
                next(t for t in alternatives if not isinstance(t, inspect.NoneType)), name
            )
        case inspect.LiteralType(values=allowed):
            value = allowed[0]
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            value = [_value(item, name)]
        case inspect.DictType(key_type=key, value_type=item):
            value = {_value(key): _value(item, name)}
        case _:
            value = PLAIN[type(of)]
    return value


if __name__ == "__main__":
    main()
