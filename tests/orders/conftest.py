"""The tenant of these tests has its days in Berlin, so that a missing offset is noticed."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from ecommerce.identity import tenants
from ecommerce.identity.tenants import TenantFacts


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    facts = TenantFacts("main", "Main shop", ZoneInfo("Europe/Berlin"), "USD", active=True)
    monkeypatch.setattr(tenants, "_read", lambda: {"main": facts})
    tenants.forget()
    yield
    tenants.forget()
