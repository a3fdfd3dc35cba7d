"""Operators see the same, whether the services share a database or have one each."""

from __future__ import annotations

from customers.models import OrderSummary
from ecommerce.audit import audit
from ecommerce.messaging.projections import differences, rebuild
from ecommerce.messaging.trace import trace, unfinished
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
