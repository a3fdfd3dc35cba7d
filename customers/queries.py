"""Reading customers and their orders, for the API, pages, admin and console.

A row that no `OrderCreated` has reached yet is not an order to anybody: it is never found here.
"""

from __future__ import annotations

from django.db.models import QuerySet

from .models import Customer, CustomerActivity, OrderSummary


def customer(tenant: str, customer_id: str) -> CustomerActivity | None:
    """What a customer's orders add up to; None for one who never ordered (see `profile`)."""
    return CustomerActivity.objects.filter(tenant=tenant, customer_id=customer_id).first()


def profile(tenant: str, customer_id: str) -> Customer | None:
    """A customer's contacts; None for one who neither ordered nor saved any."""
    return Customer.objects.filter(tenant=tenant, customer_id=customer_id).first()


def orders(
    tenant: str, *, status: str | None = None, customer_id: str | None = None
) -> QuerySet[OrderSummary]:
    """All orders of a tenant that fit the filters; give the result to `ecommerce.web.page`,
    which sorts by `created_at` and primary key."""
    found = OrderSummary.objects.filter(tenant=tenant, created_at__isnull=False)
    if status is not None:
        found = found.filter(status=status)
    if customer_id is not None:
        found = found.filter(customer_id=customer_id)
    return found


def orders_of(
    tenant: str, customer_id: str, *, status: str | None = None
) -> QuerySet[OrderSummary]:
    """A customer's orders, as `orders`."""
    return orders(tenant, status=status, customer_id=customer_id)


def order_summary(tenant: str, order_id: str) -> OrderSummary | None:
    """The order with this id."""
    return orders(tenant).filter(order_id=order_id).first()


# Each finds rows that should not exist, by tenant and customer or order. The first holds when
# everything has been delivered.
INVARIANTS: list[tuple[str, str]] = [
    (
        "a customer's activity is what their order summaries add up to",
        """
        SELECT tenant, customer_id, a.total_orders, s.total_orders AS in_summaries, a.spent
        FROM customers_customeractivity a FULL JOIN (
            SELECT tenant, customer_id, min(created_at) AS first_at, max(created_at) AS last_at,
                   count(*) FILTER (WHERE status <> 'Cancelled') AS total_orders,
                   coalesce(sum(total) FILTER (WHERE status <> 'Cancelled'), 0) AS spent
            FROM customers_ordersummary WHERE created_at IS NOT NULL
            GROUP BY tenant, customer_id
        ) s USING (tenant, customer_id)
        WHERE a.total_orders IS DISTINCT FROM s.total_orders
           OR a.first_order_at IS DISTINCT FROM s.first_at
           OR a.last_order_at IS DISTINCT FROM s.last_at
           OR (SELECT sum(amount::bigint) FROM jsonb_each_text(a.spent) AS e(currency, amount))
              IS DISTINCT FROM s.spent
        """,
    ),
    (
        "whoever ordered is a known customer",
        """
        SELECT a.tenant, a.customer_id FROM customers_customeractivity a
        LEFT JOIN customers_customer c USING (tenant, customer_id) WHERE c.id IS NULL
        """,
    ),
    (
        "an order's lines add up to its subtotal",
        """
        SELECT tenant, order_id, subtotal FROM customers_ordersummary
        WHERE created_at IS NOT NULL AND subtotal IS DISTINCT FROM (
            SELECT sum((line->>'line_total')::bigint) FROM jsonb_array_elements(lines) line)
        """,
    ),
]
"""Statements that must return no row once all messages are delivered."""
