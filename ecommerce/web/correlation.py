"""`X-Correlation-ID`: one id for everything that a request causes; and `traceparent`, by which a
tracer of the caller's finds it.

A client's UUID is taken as it is. Other ids of safe letters are given back as they came, and a
UUID is derived from them, since messages carry UUIDs. Anything else is replaced.
"""

from __future__ import annotations

import re
import uuid

from ecommerce.messaging.models import uuid7

HEADER = "X-Correlation-ID"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=+-]{0,63}")
_NAMESPACE = uuid.UUID("6f3c8e0e-5a0e-5b0e-9d62-2f9c1f4c7a51")

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(header: str | None) -> str | None:
    """The caller's place in a trace, for messages; None for what is not of version 00."""
    return header if header and _TRACEPARENT.fullmatch(header) else None


def correlation_of(header: str | None) -> tuple[uuid.UUID, str]:
    """The id for messages, and the text for the response."""
    if header is None or _SAFE.fullmatch(header) is None:
        fresh = uuid7()
        return fresh, str(fresh)
    try:
        given = uuid.UUID(header)
    except ValueError:
        return uuid.uuid5(_NAMESPACE, header), header
    return given, header
