"""What can go wrong in messaging.

    MessagingError
    ├── ContractError      a message type that nobody declared, or a payload that does not fit
    ├── WiringError        handlers that do not match the contracts; found at start-up
    ├── Fenced             this worker lost its lease; nothing of its batch was written
    ├── Retry              an effect handler asks to be called again later
    ├── DatabaseAway       a database cannot be reached; nothing was begun
    ├── BrokerAway         the broker takes nothing; what it was to carry stays in the log
    └── Refused            a person's command is refused; each has an HTTP status and a code
        ├── NotFound       404
        ├── Conflict       409
        │   └── VersionConflict  the stream has another version than its writer knew
        ├── Invalid        422, names the field
        └── Forbidden      403

Each error's text says which id or field is meant and what to do.
"""

from __future__ import annotations

import traceback
from typing import Any

import psycopg


class MessagingError(Exception):
    """Base of the kernel's errors."""


class ContractError(MessagingError):
    """A message type that nobody declared, or a payload that does not fit its contract."""


class WiringError(MessagingError):
    """Handlers and contracts do not match."""


class Fenced(MessagingError):
    """The lease was lost: another worker owns the partition, and nothing was written."""


class Retry(MessagingError):
    """Raised by an effect handler when the outside fault is transient: call again later."""


class DatabaseAway(MessagingError):
    """A database cannot be reached, or lets nobody in: nothing was begun."""


class BrokerAway(MessagingError):
    """The broker takes nothing now: what it was to carry stays in the log, and is sent later."""


class Refused(MessagingError):
    """A command that cannot be carried out. Nothing was stored.

    `code` is stable and machine-readable; `extra` goes into the problem document.
    """

    status = 409
    code = "refused"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.extra = extra


class NotFound(Refused):
    """The thing that a command or query names does not exist in this tenant."""

    status = 404
    code = "not-found"


class Conflict(Refused):
    """The thing exists, but its state does not allow this."""

    status = 409
    code = "conflict"


class VersionConflict(Conflict):
    """The stream does not have the version that its writer had read: read it again and decide anew."""

    code = "version-conflict"


class Invalid(Refused):
    """A field's value is not acceptable; `field` is its path, such as `items.0.quantity`."""

    status = 422
    code = "invalid"

    def __init__(self, detail: str, *, field: str, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, errors=[{"field": field, "detail": detail}], **extra)
        self.field = field


class Forbidden(Refused):
    """The caller may not do this."""

    status = 403
    code = "forbidden"


def describe(error: BaseException) -> str:
    """An error in one line, without what the database adds: its details quote whole rows, and with
    them personal data."""
    text = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        text = error.diag.message_primary
    return f"{type(error).__name__}: {text}"


def describe_with_place(error: BaseException) -> str:
    """An error as `describe` tells it, below the lines of code that led to it."""
    frames = traceback.format_tb(error.__traceback__, limit=-8)
    return f"{''.join(frames)}{describe(error)}"
