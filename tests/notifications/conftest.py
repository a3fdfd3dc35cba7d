from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from ecommerce.messaging.context import Context


@pytest.fixture
def context() -> Context:
    now = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
    return Context(
        tenant="main",
        actor="orders",
        message_id=uuid.UUID(int=1),
        correlation_id=uuid.UUID(int=2),
        cause_id=None,
        traceparent=None,
        recorded_at=now,
        now=now,
    )
