"""Operators see the same, whether the services share a database or have one each."""

from __future__ import annotations

from customers.models import OrderSummary
from ecommerce.audit import audit
from ecommerce.messaging.folds import as_of
from ecommerce.messaging.projections import differences, rebuild
from ecommerce.messaging.services import services
from ecommerce.messaging.trace import trace, unfinished
from ecommerce.messaging.travel import read_model_as_of
from ecommerce.messaging.verification import problems
from orders.models import Order
from tests.journeys.apart import IN_BOTH_FORMS
from tests.journeys.audit import settle
from tests.journeys.shop import JACKET, Shop

pytestmark = IN_BOTH_FORMS


def test_the_audit_reads_all_databases(shop: Shop) -> None:
    shop.order()
    shop.order({JACKET: 1}, card="card_declined")
    settle()

    findings = audit(rebuild=True, patience=0)

    assert [finding for finding in findings if not finding.ok] == []
    assert len(findings) > 90


def test_a_read_model_is_made_again_from_what_its_service_has_heard(shop: Shop) -> None:
    shop.order()
    settle()
    OrderSummary.objects.all().delete()

    assert len(differences(OrderSummary)) == 1
    rebuild([OrderSummary])

    assert OrderSummary.objects.get().status == "Shipped"
    assert differences() == []


def test_a_trace_crosses_databases(shop: Shop) -> None:
    order_id = shop.order()

    before = unfinished(trace("main", f"order/{order_id}"))
    settle()
    (root,) = trace("main", f"order/{order_id}")

    assert {hop.outcome for hop in before} == {"waiting"}
    assert {hop.service for node in root.walk() for hop in node.hops} == {
        "orders",
        "inventory",
        "payments",
        "shipping",
        "notifications",
        "customers",
        "analytics",
    }
    # The carrier will be asked for the shipment later.
    assert [hop.handler for hop in unfinished([root])] == ["shipping.track_shipment"]


def test_the_past_is_read_from_where_it_is(shop: Shop) -> None:
    order_id = shop.order()
    settle()
    before = OrderSummary.objects.get(order_id=order_id)
    shop.order()
    settle()
    recorded = before.updated_at

    seen = read_model_as_of(OrderSummary, "main", recorded)
    order = as_of(Order, "main", order_id, 1)

    assert {key: row.status for key, row in seen.rows.items()} == {order_id: before.status}
    assert order is not None
    assert order.row.status == "Pending"
    assert [problem for config in services() for problem in problems(config)] == []
