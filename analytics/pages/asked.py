"""Who asks for the dashboard, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from analytics import queries
from analytics.forms import Period, PeriodForm
from ecommerce.identity import tenants
from ecommerce.web.access import PageRequest, page_for

Matrix = dict[str, dict[str, int]]
"""Customers by the month of their first order, then by month of any."""

analysts = page_for("analytics:read")
"""Decorator of each page of the dashboard."""


@dataclass
class Asked:
    """One tenant's figures of some days, in one currency."""

    tenant: str
    now: datetime
    form: PeriodForm
    wanted: str

    @cached_property
    def period(self) -> Period:
        return self.form.period

    @cached_property
    def cohorts(self) -> dict[str, Matrix]:
        return queries.cohorts(self.tenant)

    @property
    def currencies(self) -> list[str]:
        """Those in which anything was ever sold."""
        return list(self.cohorts)

    @property
    def currency(self) -> str:
        """The one that is asked for, else the shop's own, if anything was sold in it."""
        usual = tenants.currency_of(self.tenant)
        known = [each for each in (self.wanted, usual) if each in self.cohorts]
        return [*known, *self.cohorts, usual][0]

    @property
    def query(self) -> str:
        """What stands in an address that shows the same."""
        return self.period.query(currency=self.currency)


def asked(request: PageRequest) -> Asked:
    """What a request asks for."""
    tenant = request.auth.tenant
    now = queries.now(tenant)
    form = PeriodForm(request.GET, now.date())
    return Asked(tenant, now, form, request.GET.get("currency", ""))
