"""What services need to know of their tenant: its day, its currency, whether it is open.

The few tenant rows are kept in memory for a minute, so that asking costs nothing; a change made
in this process is seen at once, one made elsewhere after that minute.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings

KEPT_SECONDS = 60.0


@dataclass(frozen=True)
class TenantFacts:
    """A tenant's row, as far as others may ask."""

    slug: str
    name: str
    zone: ZoneInfo
    currency: str
    active: bool


def default() -> str:
    """The tenant of callers who name none: the setting DEFAULT_TENANT."""
    slug: str = getattr(settings, "DEFAULT_TENANT", "main")
    return slug


def find(tenant: str) -> TenantFacts | None:
    """The tenant with this slug, or None."""
    return _all().get(tenant)


def is_active(tenant: str) -> bool:
    """Whether the tenant exists and is open."""
    facts = find(tenant)
    return facts is not None and facts.active


def zone_of(tenant: str) -> ZoneInfo:
    """The tenant's time zone; UTC for one that does not exist."""
    facts = find(tenant)
    return facts.zone if facts else ZoneInfo("UTC")


def local_time(instant: datetime, tenant: str) -> datetime:
    """The same instant with the tenant's UTC offset; its `date()` is the tenant's business day.

    UTC for a tenant that does not exist. `instant` must be aware.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    return instant.astimezone(zone_of(tenant))


def currency_of(tenant: str) -> str:
    """The ISO code of the currency that the tenant's prices are in; USD for one without a row."""
    facts = find(tenant)
    return facts.currency if facts else "USD"


def forget() -> None:
    """Read the rows anew at the next question."""
    _memory.until = 0.0


@dataclass
class _Memory:
    until: float = 0.0
    rows: dict[str, TenantFacts] = field(default_factory=dict)


_memory = _Memory()


def _all() -> dict[str, TenantFacts]:
    if time.monotonic() >= _memory.until:
        _memory.rows = _read()
        _memory.until = time.monotonic() + KEPT_SECONDS
    return _memory.rows


def _read() -> dict[str, TenantFacts]:
    from .models import Tenant

    return {
        row.slug: TenantFacts(row.slug, row.name, ZoneInfo(row.time_zone), row.currency, row.active)
        for row in Tenant.objects.all()
    }
