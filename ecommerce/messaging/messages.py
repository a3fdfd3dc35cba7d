"""Messages and their contracts.

A service declares the messages it owns in its `contracts.py`:

    @event(stream="order_id", person="customer_id")
    class OrderCreated(Message):
        order_id: str
        customer_id: str
        shipping_address: Personal[Address | None]

The stable name of that contract is `orders.OrderCreated`; rows store this name and the version,
never a Python path. A field marked `Personal` is kept in a column of its own, together with the
id of the person it belongs to, so that erasure touches that column only.

Rows are never rewritten. When a contract gets a new version, it names a function for each step
from an old version to the next, and `decode` takes what is stored through these:

    @event(stream="order_id", version=2, upcast=[_with_currency])
    class OrderPaid(Message): ...
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import msgspec

from .errors import ContractError
from .upcasting import Upcaster, empty_values, upcast_from

T = TypeVar("T")
M = TypeVar("M", bound="type[Message]")

Personal = Annotated[
    T, msgspec.Meta(extra={"personal": True}, extra_json_schema={"personal": True})
]
"""Marks a contract field as personal data of the contract's `person`."""

Kind = Literal["command", "event"]

SHARDS = 8
"""The partitions among which one tenant's streams are spread."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class FrozenMeta(msgspec.StructMeta):
    """Tells type checkers what `Message` tells msgspec: fields are frozen and given by name."""


class Message(
    msgspec.Struct, metaclass=FrozenMeta, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Base of all commands and events: a frozen value that knows nothing of its delivery."""


@dataclass(frozen=True)
class Contract:
    """A released message type: what rows and brokers know it by."""

    name: str
    version: int
    kind: Kind
    type: type[Message]
    stream_field: str
    person_field: str | None
    personal_fields: tuple[str, ...]
    decoder: msgspec.json.Decoder[Message]
    tags: tuple[str, ...]
    upcasters: tuple[Upcaster, ...]
    """The first leads from version 1 to 2, and so on to the current version."""
    forgotten: dict[str, str | None]
    """What personal fields without a default are when the person is forgotten."""

    @property
    def service(self) -> str:
        """The service that owns this contract; for a command, the one that handles it."""
        return self.name.partition(".")[0]

    @property
    def category(self) -> str:
        """What kind of thing the stream is: `order` for a stream field `order_id`."""
        return self.stream_field.removesuffix("_id")

    def stream_of(self, message: Message) -> str:
        """The stream this message keeps its order in, such as `order/0192…`."""
        return f"{self.category}/{getattr(message, self.stream_field)}"


@dataclass(frozen=True)
class Encoded:
    """A message as its three columns."""

    payload: str
    personal: str | None
    person: str | None


_by_name: dict[str, Contract] = {}
_by_type: dict[type[Message], Contract] = {}


def command(
    *,
    stream: str,
    version: int = 1,
    person: str | None = None,
    tags: tuple[str, ...] = (),
    upcast: Sequence[Upcaster] = (),
) -> Callable[[M], M]:
    """Declare a command. `stream` names the field whose value orders it; `person` the field
    with the id of the person its `Personal` fields belong to; policies go by `tags`; `upcast` has
    a function for each step from version 1 to this one."""
    return _contract("command", stream, version, person, tags, upcast)


def event(
    *,
    stream: str,
    version: int = 1,
    person: str | None = None,
    tags: tuple[str, ...] = (),
    upcast: Sequence[Upcaster] = (),
) -> Callable[[M], M]:
    """Declare an event; arguments as for `command`."""
    return _contract("event", stream, version, person, tags, upcast)


def contract_of(message: Message | type[Message]) -> Contract:
    """The contract of a message or message type.

    Raises ContractError for a type without `@command` or `@event`.
    """
    kind = message if isinstance(message, type) else type(message)
    try:
        return _by_type[kind]
    except KeyError:
        raise ContractError(
            f"{kind.__name__} has no contract: decorate it in contracts.py"
        ) from None


def contract_named(name: str) -> Contract:
    """The contract with this stable name. Raises ContractError when no service declares it."""
    try:
        return _by_name[name]
    except KeyError:
        raise ContractError(f"no service declares a message named {name!r}") from None


def contracts() -> Iterator[Contract]:
    """All declared contracts, by name."""
    return iter(sorted(_by_name.values(), key=lambda contract: contract.name))


def encode(message: Message) -> Encoded:
    """Turn a message into its columns, personal fields apart."""
    contract = contract_of(message)
    if not contract.personal_fields:
        return Encoded(msgspec.json.encode(message).decode(), None, None)
    fields = msgspec.structs.asdict(message)
    personal = {name: fields.pop(name) for name in contract.personal_fields}
    person = str(fields[contract.person_field]) if contract.person_field else None
    return Encoded(
        msgspec.json.encode(fields).decode(), msgspec.json.encode(personal).decode(), person
    )


def decode(name: str, version: int, payload: str, personal: str | None) -> Message:
    """Rebuild a message from its columns; one of an old version as the current one.

    A person's fields are empty when their column is. Raises ContractError when the name or version
    is unknown or the payload does not fit it.
    """
    contract = contract_named(name)
    text = payload if personal is None else f"{payload[:-1]},{personal[1:]}"
    forgotten = contract.forgotten if personal is None else {}
    try:
        if version != contract.version or forgotten:
            fields = forgotten | upcast_from(
                version, msgspec.json.decode(text), name, contract.upcasters
            )
            text = msgspec.json.encode(fields).decode()
        return contract.decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{name} version {version}: {error}") from error


def schema(contract: Contract) -> dict[str, Any]:
    """The contract as JSON schema: what its golden file holds."""
    return {
        "name": contract.name,
        "version": contract.version,
        "kind": contract.kind,
        "stream": contract.stream_field,
        "person": contract.person_field,
        "schema": msgspec.json.schema(contract.type),
    }


@lru_cache(maxsize=8192)
def partition_of(tenant: str, stream: str, partitions: int) -> int:
    """The partition that orders this tenant's stream; stable across processes and releases.

    A tenant's streams share SHARDS partitions, one of each equal part of all. Which ones differs
    from tenant to tenant, so that a busy tenant stands before few streams of any other (shuffle
    sharding: https://aws.amazon.com/builders-library/workload-isolation-using-shuffle-sharding).
    """
    shards = math.gcd(SHARDS, partitions)
    width = partitions // shards
    shard = _hash(f"{tenant}/{stream}") % shards
    return shard * width + _hash(f"{shard}/{tenant}") % width


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


def _contract(
    kind: Kind,
    stream: str,
    version: int,
    person: str | None,
    tags: tuple[str, ...],
    upcast: Sequence[Upcaster],
) -> Callable[[M], M]:
    def declare(cls: M) -> M:
        service = cls.__module__.partition(".")[0]
        name = f"{service}.{cls.__name__}"
        fields = msgspec.structs.fields(cls)
        personal = [field for field in fields if _is_personal(field.type)]
        names = {field.name for field in fields}
        if name in _by_name:
            raise ContractError(f"{name} is declared twice")
        if stream not in names:
            raise ContractError(f"{name}: the stream field {stream!r} does not exist")
        if personal and person not in names:
            raise ContractError(
                f"{name} has personal fields {[field.name for field in personal]}: "
                "say person=<field>"
            )
        if len(upcast) != version - 1:
            raise ContractError(
                f"{name} has version {version} and {len(upcast)} upcasters: "
                "give one for each older version, upcast=[<from 1 to 2>, …]"
            )
        _by_name[name] = _by_type[cls] = Contract(
            name=name,
            version=version,
            kind=kind,
            type=cls,
            stream_field=stream,
            person_field=person,
            personal_fields=tuple(field.encode_name for field in personal),
            decoder=msgspec.json.Decoder(cls),
            tags=tags,
            upcasters=tuple(upcast),
            forgotten=empty_values(name, [field for field in personal if field.required]),
        )
        return cls

    return declare


def _is_personal(annotation: object) -> bool:
    metadata = getattr(annotation, "__metadata__", ())
    return any(getattr(item, "extra", None) == {"personal": True} for item in metadata)
