"""What is found among customers and orders, and what never is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import QuerySet

from customers import queries
from customers.models import OrderSummary
from ecommerce.web import Paging, page
from tests.customers import examples
from tests.customers.examples import LOCAL, created

pytestmark = pytest.mark.django_db(transaction=True)

Hear = Callable[..., None]


def ids(found: QuerySet[OrderSummary]) -> list[str]:
    return [summary.order_id for summary in page(found, Paging()).items]


def test_orders_come_newest_first_page_by_page(heard: Hear) -> None:
    # given
    heard(*(created(f"o{i}", at=LOCAL + timedelta(minutes=i)) for i in range(5)))
    # when
    pages, cursor = [], None
    while True:
        found = page(queries.orders("main"), Paging(limit=2, cursor=cursor))
        pages.append([summary.order_id for summary in found.items])
        cursor = found.next
        if cursor is None:
            break
    # then
    assert pages == [["o4", "o3"], ["o2", "o1"], ["o0"]]


def test_orders_are_filtered_by_status_and_customer(heard: Hear) -> None:
    # given
    ours, theirs = created("o1"), created("o2", customer_id="cust-9")
    heard(ours, theirs, created("o3"), examples.cancelled(ours), examples.cancelled(theirs))
    # then
    assert set(ids(queries.orders("main", status="Cancelled"))) == {"o1", "o2"}
    assert ids(queries.orders("main", status="Cancelled", customer_id="cust-9")) == ["o2"]
    assert ids(queries.orders_of("main", "cust-123", status="Pending")) == ["o3"]
    assert ids(queries.orders_of("main", "nobody")) == []


def test_an_order_of_which_only_the_payment_is_known_is_never_found(heard: Hear) -> None:
    # given
    heard(examples.processed())
    # then
    assert OrderSummary.objects.count() == 1
    assert queries.order_summary("main", "o1") is None
    assert ids(queries.orders("main")) == []


def test_each_tenant_finds_its_own_only(heard: Hear) -> None:
    # given
    heard(created(total=100))
    heard(created(total=700), tenant="other")
    # when
    summary = queries.order_summary("other", "o1")
    activity = queries.customer("other", "cust-123")
    # then
    assert summary is not None
    assert summary.total == 700
    assert activity is not None
    assert activity.total_spent == 700
    assert [row.tenant for row in queries.orders("other")] == ["other"]
    assert queries.profile("third", "cust-123") is None


def broken_invariants() -> list[str]:
    broken = []
    with connection.cursor() as cursor:
        for name, statement in queries.INVARIANTS:
            cursor.execute(statement)
            if cursor.fetchall():
                broken.append(name)
    return broken


def test_invariants_hold_for_what_was_heard(heard: Hear) -> None:
    # given
    order, other = created("o1"), created("o2", total=8948, currency="EUR")
    heard(order, other, examples.cancelled(order), examples.processed())
    # then
    assert broken_invariants() == []


def test_invariants_notice_rows_that_were_tampered_with(heard: Hear) -> None:
    # given
    heard(created())
    # when
    OrderSummary.objects.update(total=1, subtotal=1)
    # then
    assert broken_invariants() == [
        "a customer's activity is what their order summaries add up to",
        "an order's lines add up to its subtotal",
    ]
