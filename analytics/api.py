"""Sales figures over HTTP. Days are the shop's business days."""

from __future__ import annotations

from datetime import date, timedelta

from ninja import Query

from ecommerce.identity import tenants
from ecommerce.messaging.errors import Invalid
from ecommerce.web import ApiRequest, PageOf, Router, allow, reads

from . import queries
from .schemas import (
    CohortOut,
    DailySalesOut,
    Day,
    HourlySalesOut,
    InCurrency,
    MonthlySalesOut,
    Period,
    TopOfPeriod,
    TopProductOut,
)

DAYS_SHOWN = 30

router = Router(tags=["analytics"])


@router.get("/analytics/sales/daily", auth=allow("analytics:read"), response=PageOf[DailySalesOut])
@reads("analytics")
def daily_sales(request: ApiRequest, period: Query[Period]) -> PageOf[DailySalesOut]:
    """Sales of each day, newest first; days without any are left out."""
    tenant = request.auth.tenant
    first, last = _days(tenant, period)
    rows = queries.daily_sales(tenant, first, last, currency=period.currency)
    return PageOf[DailySalesOut](items=[DailySalesOut.of(row) for row in rows])


@router.get(
    "/analytics/sales/hourly", auth=allow("analytics:read"), response=PageOf[HourlySalesOut]
)
@reads("analytics")
def hourly_sales(request: ApiRequest, wanted: Query[Day]) -> PageOf[HourlySalesOut]:
    """Sales of each hour of a day, in their order; hours without any are left out."""
    tenant = request.auth.tenant
    day = wanted.date or queries.today(tenant)
    rows = queries.hourly_sales(tenant, day, currency=wanted.currency)
    items = [HourlySalesOut.of(row, tenants.local_time(row.hour, tenant)) for row in rows]
    return PageOf[HourlySalesOut](items=items)


@router.get(
    "/analytics/sales/monthly", auth=allow("analytics:read"), response=PageOf[MonthlySalesOut]
)
@reads("analytics")
def monthly_sales(request: ApiRequest, wanted: Query[InCurrency]) -> PageOf[MonthlySalesOut]:
    """Sales of each month, newest first; months without any are left out."""
    tenant = request.auth.tenant
    currency = wanted.currency or tenants.currency_of(tenant)
    cohorts = queries.cohorts(tenant).get(currency, {})
    months = queries.monthly_sales(tenant, date.min, queries.today(tenant), currency=currency)
    items = [_month(month, currency, cohorts) for month in reversed(months)]
    return PageOf[MonthlySalesOut](items=items)


@router.get("/analytics/cohorts", auth=allow("analytics:read"), response=PageOf[CohortOut])
@reads("analytics")
def cohorts(request: ApiRequest, wanted: Query[InCurrency]) -> PageOf[CohortOut]:
    """Customers by the month of their first order, newest first."""
    tenant = request.auth.tenant
    currency = wanted.currency or tenants.currency_of(tenant)
    found = queries.cohorts(tenant).get(currency, {})
    items = [
        CohortOut(
            month=first,
            currency=currency,
            customers=months[first],
            came_back={month: months[month] for month in sorted(months) if month > first},
        )
        for first, months in sorted(found.items(), reverse=True)
    ]
    return PageOf[CohortOut](items=items)


@router.get("/analytics/products/top", auth=allow("analytics:read"), response=PageOf[TopProductOut])
@reads("analytics")
def top_products(request: ApiRequest, period: Query[TopOfPeriod]) -> PageOf[TopProductOut]:
    """The products with the highest revenue, highest first."""
    tenant = request.auth.tenant
    first, last = _days(tenant, period)
    rows = queries.top_products(tenant, first, last, limit=period.limit, currency=period.currency)
    return PageOf[TopProductOut](items=[TopProductOut.model_validate(row) for row in rows])


def _days(tenant: str, period: Period) -> tuple[date, date]:
    """The first and last day that are meant. Raises Invalid when they are the wrong way round."""
    last = period.end_date or queries.today(tenant)
    try:
        first = period.start_date or last - timedelta(days=DAYS_SHOWN - 1)
    except OverflowError:
        raise Invalid("There are not that many days before it.", field="endDate") from None
    if first > last:
        raise Invalid(f"The period begins on {first}, after its end on {last}.", field="startDate")
    return first, last


def _month(
    month: queries.Month, currency: str, cohorts: dict[str, dict[str, int]]
) -> MonthlySalesOut:
    name = f"{month.first_day:%Y-%m}"
    return MonthlySalesOut(
        month=name,
        currency=currency,
        total_orders=month.orders,
        total_revenue=month.revenue,
        avg_order_value=month.average,
        unique_customers=sum(each.get(name, 0) for each in cohorts.values()),
        new_customers=cohorts.get(name, {}).get(name, 0),
    )
