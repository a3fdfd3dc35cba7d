"""JSON in and out: exact numbers, and no text that the database would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser
from ninja.renderers import BaseRenderer
from pydantic import BaseModel

from ecommerce.messaging.errors import Invalid, Refused

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


class Malformed(Refused):
    """The body is not JSON."""

    status = 400
    code = "malformed-json"


def to_json(value: Any) -> bytes:
    """The value as JSON. A Decimal becomes a number with exactly its digits."""
    return _encoder.encode(value)


def from_json(body: bytes) -> Any:
    """The value of a JSON text, its fractions as Decimals. Raises Malformed."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}") from None


class JSONRenderer(BaseRenderer):
    """Renders what operations return."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return to_json(data)


class JSONParser(Parser):
    """Reads bodies and query strings. PostgreSQL's text has no NUL, so none gets past here."""

    def parse_body(self, request: HttpRequest) -> Any:
        value = from_json(request.body)
        if b"\\u0000" in request.body:
            _refuse_nul(value)
        return value

    def parse_querydict(
        self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        for name, values in data.lists():
            if any("\0" in str(value) for value in (name, *values)):
                raise _nul_in(name)
        return super().parse_querydict(data, list_fields, request)


def _refuse_nul(value: Any) -> None:
    for path, text in _texts(value, ()):
        if "\0" in text:
            raise _nul_in(".".join(path))


def _nul_in(field: str) -> Invalid:
    return Invalid("Text must not contain NUL characters.", field=field.replace("\0", ""))


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, str(index)))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)
