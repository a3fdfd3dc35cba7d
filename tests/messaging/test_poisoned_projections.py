"""An event that one projection cannot apply holds back its stream there, for all to see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from analytics.models import DailySales
from customers import projections
from customers.models import CustomerActivity, OrderSummary
from ecommerce.identity import tenants
from ecommerce.identity.models import Tenant, User
from ecommerce.messaging.consistency import token_for
from ecommerce.messaging.projections import compare, differences, groups
from ecommerce.messaging.rebuilds import run
from ecommerce.messaging.trace import trace, unfinished
from orders.contracts import OrderCreated
from orders.models import Order
from tests.messaging.conftest import Clock
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

POISONED = "customers.order_summary_from_orders"


@contextmanager
def poisoned(order_id: str) -> Iterator[None]:
    """For a while the summary of one order cannot be made."""
    with pytest.MonkeyPatch.context() as patch:
        place_order = projections._place

        def fail(summary: OrderSummary, event: OrderCreated) -> None:
            if event.order_id == order_id:
                raise ValueError("cannot place it")
            place_order(summary, event)

        patch.setattr(projections, "_place", fail)
        yield


@pytest.fixture
def bad_order(settings: Settings) -> Iterator[None]:
    """Two orders that were delivered; the summary of one is missing what orders says of it."""
    settings.SIMULATED_DELIVERY_SECONDS = 0
    open_shop()
    with poisoned("bad"):
        place("bad")
        place("good", customer="cust-2")
        settle()
        yield


def test_only_the_stream_of_the_poisoned_event_waits_and_for_this_projection_only(
    bad_order: None,
) -> None:
    # then what others make of the same order, and of other orders, is there
    assert OrderSummary.objects.get(order_id="good").status == "Delivered"
    assert Order.objects.get(order_id="bad").status == "Delivered"
    assert CustomerActivity.objects.get(customer_id="cust-1").total_orders == 1
    assert DailySales.objects.get().orders == 2

    # and the summary has what payments and shipping say, and waits for the rest
    summary = OrderSummary.objects.get(order_id="bad")
    assert (summary.status, summary.payment_status, summary.shipment_status) == (
        "",
        "Captured",
        "Delivered",
    )
    parked = fetch("customers", 'SELECT handler, stream, attempts FROM "{parked}" ORDER BY id')
    assert parked[0] == (POISONED, "order/bad", 1)
    assert {(handler, stream) for handler, stream, _ in parked} == {(POISONED, "order/bad")}


def test_it_is_seen_in_the_trace_the_admin_and_the_health_checks(
    bad_order: None, client: Client
) -> None:
    first, *behind = unfinished(trace("main", "order/bad"))
    assert (first.handler, first.outcome) == (POISONED, "parked")
    assert "ValueError: cannot place it" in first.error
    assert {(hop.handler, hop.outcome) for hop in behind} == {(POISONED, "parked")}

    checks = client.get("/health/ready").json()["checks"]
    (check,) = (check for check in checks if check["name"] == "parked customers")
    assert (check["ok"], check["needed"]) == (False, False)
    assert check["detail"] == f"{len(behind) + 1} deliveries are parked"

    Tenant.objects.get_or_create(slug="main", defaults={"name": "Main"})
    tenants.forget()
    client.force_login(User.objects.create_superuser("root", tenant_id="main"))
    page = client.get("/admin/customers/customersparked/").content.decode()
    assert "order/bad" in page
    assert "ValueError: cannot place it" in page


def test_a_read_that_waits_for_the_write_is_told_at_once(bad_order: None, client: Client) -> None:
    Tenant.objects.get_or_create(slug="main", defaults={"name": "Main"})
    tenants.forget()
    client.force_login(User.objects.create_superuser("root", tenant_id="main"))
    ((position,),) = fetch(
        "orders", 'SELECT max(position) FROM "{log}" WHERE stream = %b', "order/bad"
    )
    token = token_for("orders", "main", "order/bad", position)

    answer = client.get("/api/customers/cust-1/orders", {"waitFor": token})

    assert (answer.status_code, answer.headers["X-Consistency"]) == (200, "failed")


def test_after_the_fix_and_a_retry_the_rows_equal_a_rebuild(
    clock: Clock, settings: Settings
) -> None:
    # given a poisoned event that is retried in vain once
    settings.SIMULATED_DELIVERY_SECONDS = 0
    open_shop()
    with poisoned("bad"):
        place("bad")
        settle()
        clock.advance(31)
        settle()
    assert fetch("customers", 'SELECT max(attempts) FROM "{parked}"') == [(2,)]

    # when it is fixed and retried
    clock.advance(61)
    settle()

    # then it is as if nothing had been
    assert OrderSummary.objects.get(order_id="bad").status == "Delivered"
    assert differences() == []
    (group,) = groups([OrderSummary])
    before = list(OrderSummary.objects.values())
    result = run(group, "user:1")
    assert (result.differences, result.missed) == ({OrderSummary: []}, 0)
    assert list(OrderSummary.objects.values()) == before


def test_a_rebuild_before_the_fix_leaves_the_poisoned_stream_out_and_says_so(
    bad_order: None,
) -> None:
    (group,) = groups([OrderSummary])

    result = compare(group)

    assert result.differences == {OrderSummary: []}
    assert result.missed == fetch("customers", 'SELECT count(*) FROM "{parked}"')[0][0]
