"""What becomes of stored fields that are not those of the current contract.

Rows of an old version are read through the contract's upcasters, one step after the other. Personal
fields of somebody who was forgotten are gone; those without a default are read as empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .errors import ContractError

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""From the fields of one version, as JSON has them, to those of the next; pure. Personal fields are
among them, unless the person was forgotten."""


def upcast_from(
    version: int, fields: dict[str, Any], name: str, upcasters: Sequence[Upcaster]
) -> dict[str, Any]:
    """The fields of a message of this version, as the current one has them.

    Raises ContractError for a version that no upcaster begins at, and when an upcaster fails.
    """
    current = len(upcasters) + 1
    if not 1 <= version <= current:
        raise ContractError(
            f"{name} version {version} has no reader: this code knows 1 to {current}; "
            "a newer version needs newer code"
        )
    for number, upcaster in enumerate(upcasters[version - 1 :], version):
        try:
            fields = upcaster(fields)
        except Exception as error:
            # Its text may quote a personal field.
            raise ContractError(
                f"{name} version {number} cannot be read as {number + 1}: "
                f"{type(error).__name__} in {upcaster.__name__}"
            ) from error
    return fields


def empty_values(name: str, required: Sequence[msgspec.structs.FieldInfo]) -> dict[str, str | None]:
    """What personal fields without a default are once the person is forgotten.

    Raises ContractError for a field that can be neither None nor an empty text.
    """
    return {field.encode_name: _empty_value(name, field) for field in required}


def _empty_value(name: str, field: msgspec.structs.FieldInfo) -> str | None:
    for value in (None, ""):
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            continue
        return value
    raise ContractError(
        f"{name}: the personal field {field.name!r} needs a default, for when its person is forgotten"
    )
