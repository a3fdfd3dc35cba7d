"""Who handles what.

A handler is a function from one message, and the rows that its signature names, to the messages
it caused and the rows it made:

    @handles
    def reserve_inventory(
        command: ReserveInventory, stock: Rows[StockItem], reservation: Reservation | None
    ) -> list[Message | Row]: ...

How a parameter is filled:

| annotation        | the message's field  | what the handler gets                               |
|-------------------|----------------------|-----------------------------------------------------|
| `Order`           | `order_id`           | the row; NotFound when there is none                |
| `Order | None`    | `order_id`           | the row or None                                     |
| `Rows[StockItem]` | `product_ids`        | a dict of the rows that exist, by key               |
| `Context`         |                      | the message's context                               |

The field is named like the model's `key` (with an `s` for `Rows`). Where a message has no such
field, the decorator says how to find the key: `@projects(day=lambda event: event.created_at.date())`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, cast, overload

from django.conf import settings

from .context import Context
from .errors import WiringError
from .messages import Message, contract_of
from .models import Row

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Row)
F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["handles", "performs", "projects"]


class Rows(dict[Any, R]):
    """The rows of one model that a message touches, by key."""


@dataclass(frozen=True)
class Later:
    """A message to be sent, or an effect to be performed, not before `at`."""

    message: Message
    at: datetime


Result = Message | Row | Later
"""What a handler may return, in a list."""


@dataclass(frozen=True)
class Call(Generic[M]):
    """One of the messages that an effect handler is given together."""

    message: M
    context: Context


@dataclass(frozen=True)
class Load:
    """One parameter of a handler that the kernel fills with rows."""

    parameter: str
    model: type[Row]
    form: Literal["one", "optional", "many"]
    keys: Callable[[Any], Any]
    """From the message to its key, or for `many` to its keys."""


@dataclass(frozen=True)
class Handler:
    """A registered handler. `name` is stored in rows and must not change."""

    name: str
    service: str
    kind: Kind
    message_types: tuple[type[Message], ...]
    function: Callable[..., Iterable[Result] | Result | None]
    loads: tuple[Load, ...]
    context_parameter: str | None
    retry_after: tuple[float, ...]
    """Seconds to wait before each further attempt; afterwards the delivery is a dead letter."""
    together: bool = False
    """Whether it takes several calls at a time."""


_handlers: dict[str, Handler] = {}
_by_message: dict[type[Message], list[Handler]] = {}


@overload
def handles(function: F, /) -> F: ...
@overload
def handles(*, retry: Sequence[float] = ..., **keys: Callable[[Any], Any]) -> Callable[[F], F]: ...
def handles(function: Any = None, /, *, retry: Sequence[float] | None = None, **keys: Any) -> Any:
    """Register a handler: it may change its service's rows and cause messages."""
    return _register("handles", function, retry, keys)


@overload
def projects(function: F, /) -> F: ...
@overload
def projects(*, retry: Sequence[float] = ..., **keys: Callable[[Any], Any]) -> Callable[[F], F]: ...
def projects(function: Any = None, /, *, retry: Sequence[float] | None = None, **keys: Any) -> Any:
    """Register a projection: it may change and add read model rows, and cause nothing."""
    return _register("projects", function, retry, keys)


@overload
def performs(function: F, /) -> F: ...
@overload
def performs(*, retry: Sequence[float] = ...) -> Callable[[F], F]: ...
def performs(function: Any = None, /, *, retry: Sequence[float] | None = None) -> Any:
    """Register an effect handler: it takes only the message, calls outside, and causes messages.

    It runs outside any transaction and may run more than once, so it must pass a stable key to
    whatever it calls. It raises Retry for a transient fault.

    One that is declared to take a `list[Call[…]]` is given several messages at a time, where many
    cost little more than one, and returns a list of what each caused, with the exception in its
    place where one failed. What failed before is called by itself.
    """
    return _register("performs", function, retry, {})


def handlers(service: str | None = None) -> list[Handler]:
    """All handlers, or those of one service, by name."""
    chosen = (h for h in _handlers.values() if service in (None, h.service))
    return sorted(chosen, key=lambda handler: handler.name)


def handlers_of(message: type[Message], service: str | None = None) -> list[Handler]:
    """The handlers of a message type, or those in one service, in the order of their names."""
    return [h for h in _by_message.get(message, []) if service in (None, h.service)]


def performer_of(message: type[Message]) -> Handler | None:
    """The effect handler of a message type, if it has one."""
    for handler in _by_message.get(message, ()):
        if handler.kind == "performs":
            return handler
    return None


def handler_named(name: str) -> Handler:
    """The handler that a row names; if the code lost it, one that says so and is not retried."""

    def missing(_: Message) -> None:
        raise WiringError(f"no handler is named {name!r}: restore it, or retire the name")

    lost = Handler(name, name.partition(".")[0], "performs", (), missing, (), None, ())
    return _handlers.get(name, lost)


def _register(
    kind: Kind, function: F | None, retry: Sequence[float] | None, keys: dict[str, Any]
) -> Any:
    usual: Sequence[float] = (
        settings.MESSAGING_RETRY_CALLS if kind == "performs" else settings.MESSAGING_RETRY
    )

    def register(function: F) -> F:
        handler = _describe(kind, function, tuple(usual if retry is None else retry), keys)
        if handler.name in _handlers:
            raise WiringError(f"two handlers are named {handler.name}")
        _handlers[handler.name] = handler
        for message_type in handler.message_types:
            listeners = _by_message.setdefault(message_type, [])
            listeners.append(handler)
            listeners.sort(key=lambda other: other.name)
        return function

    return register if function is None else register(function)


def _describe(
    kind: Kind, function: Callable[..., Any], retry: tuple[float, ...], keys: dict[str, Any]
) -> Handler:
    service = function.__module__.partition(".")[0]
    name = f"{service}.{function.__name__}"
    hints = typing.get_type_hints(function)
    first, *others = inspect.signature(function).parameters
    together = typing.get_origin(hints[first]) is list
    if together and (kind != "performs" or others):
        raise WiringError(f"{name}: only an effect takes a list of calls, and nothing else with it")
    taken = typing.get_args(typing.get_args(hints[first])[0])[0] if together else hints[first]
    message_types = tuple(cast(type[Message], each) for each in _alternatives(taken))
    for message_type in message_types:
        contract_of(message_type)
    context = next((p for p in others if hints[p] is Context), None)
    loads = tuple(
        _load(name, parameter, hints[parameter], message_types, keys.pop(parameter, None))
        for parameter in others
        if parameter != context
    )
    if keys:
        raise WiringError(f"{name}: no parameter is named {', '.join(keys)}")
    if kind == "performs" and loads:
        raise WiringError(f"{name} performs an effect, so it takes only the message, not rows")
    return Handler(name, service, kind, message_types, function, loads, context, retry, together)


def _load(
    handler: str, parameter: str, hint: Any, messages: tuple[type[Message], ...], keys: Any
) -> Load:
    form: Literal["one", "optional", "many"]
    if typing.get_origin(hint) is Rows:
        (model,), form = typing.get_args(hint), "many"
    elif type(None) in _alternatives(hint):
        (model,), form = [a for a in _alternatives(hint) if a is not type(None)], "optional"
    else:
        model, form = hint, "one"
    if not (isinstance(model, type) and issubclass(model, Row)):
        raise WiringError(f"{handler}: parameter {parameter!r} must be a Row, not {hint!r}")
    if keys is None:
        keys = _field_keys(handler, parameter, model, form, messages)
    return Load(parameter, model, form, keys)


def _field_keys(
    handler: str, parameter: str, model: type[Row], form: str, messages: tuple[type[Message], ...]
) -> Callable[[Any], Any]:
    columns = model.key_columns()
    names = tuple(f"{column}s" for column in columns) if form == "many" else columns
    for message_type in messages:
        for name in names:
            if not hasattr(message_type, name):
                raise WiringError(
                    f"{handler}: {message_type.__name__} has no field {name!r} to find "
                    f"{parameter!r} by; say @handles({parameter}=lambda message: …)"
                )
    if len(names) == 1:
        (only,) = names
        return lambda message: getattr(message, only)
    if form == "many":
        raise WiringError(f"{handler}: say how the keys of {parameter!r} are found")
    return lambda message: tuple(getattr(message, name) for name in names)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return typing.get_args(hint)
    return (hint,)
