"""What surrounds a message: who caused it, when, and in which tenant.

Every message carries the context of its cause onwards: the correlation id stays, the cause id is
the id of the message that was being handled.
"""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Given to a handler that asks for it by a parameter of this type.

    `now` is the database's clock when the batch began (UTC); `recorded_at` is when this message
    was written, the only time that a projection may use.
    """

    tenant: str
    actor: str
    message_id: uuid.UUID
    correlation_id: uuid.UUID
    cause_id: uuid.UUID | None
    traceparent: str | None
    recorded_at: datetime
    now: datetime
