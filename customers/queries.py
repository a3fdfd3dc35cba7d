"""Reading the catalogue, carts, customers and their orders, for the API, pages, admin and console.

A row that no `OrderCreated` has reached yet is not an order to anybody: it is never found here. So
it is with a product and its `ProductCreated`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from ecommerce.messaging.reading import find

from .models import Cart, Customer, CustomerActivity, OrderSummary, Product


@dataclass(frozen=True)
class CartItem:
    """A product in a cart, as it is sold now."""

    product: Product
    quantity: int

    @property
    def total(self) -> int:
        return self.product.price * self.quantity

    @property
    def is_short(self) -> bool:
        """Whether there are fewer than wanted."""
        return self.product.available < self.quantity


def products(
    tenant: str, *, words: str = "", category: str = "", available: bool = False
) -> QuerySet[Product]:
    """The products that the shop shows: those that have all the words, in a category if one is named."""
    found = Product.objects.filter(tenant=tenant, created_at__isnull=False)
    for word in words.split():
        found = found.filter(
            Q(name__icontains=word) | Q(description__icontains=word) | Q(category__icontains=word)
        )
    if category:
        found = found.filter(category=category)
    return found.filter(available__gt=0) if available else found


def product(tenant: str, product_id: str) -> Product | None:
    """The product with this id."""
    return products(tenant).filter(product_id=product_id).first()


def categories(tenant: str) -> list[str]:
    """The shelves of the shop, by name."""
    named = products(tenant).exclude(category="").order_by("category")
    return list(named.values_list("category", flat=True).distinct())


def cart(tenant: str, cart_id: str) -> Cart | None:
    """The cart with this id; None until something was put into it."""
    return Cart.objects.filter(tenant=tenant, cart_id=cart_id).first()


def cart_items(cart: Cart | None) -> list[CartItem]:
    """What is in a cart, in the order in which it was put there."""
    if cart is None or not cart.lines:
        return []
    found = products(cart.tenant).filter(product_id__in=cart.quantities)
    known = {product.product_id: product for product in found}
    return [
        CartItem(known[product_id], quantity)
        for product_id, quantity in cart.quantities.items()
        if product_id in known
    ]


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
    found = find(OrderSummary, tenant, order_id)
    return found if found and found.created_at else None


def watched_state(order: OrderSummary) -> str:
    """What a stream of WATCHED_ORDERS says of an order that is like this."""
    state = {"status": order.status, "payment": order.payment_status}
    return json.dumps(state | {"shipment": order.shipment_status})


# Each gets arrays of tenants and ids, and finds the state of these rows: see `ecommerce.web.live`.
WATCHED_ORDERS = """
    SELECT tenant, order_id, json_build_object(
               'status', status, 'payment', payment_status, 'shipment', shipment_status)::text,
           status = 'Delivered'
           OR status = 'Cancelled' AND payment_status NOT IN ('Pending', 'Captured', 'Cancelling')
    FROM customers_ordersummary
    WHERE created_at IS NOT NULL
      AND (tenant, order_id) IN (SELECT * FROM unnest(%b::text[], %b::text[]))
"""
WATCHED_PRODUCTS = """
    SELECT tenant, product_id, json_build_object('available', available)::text, false
    FROM customers_product
    WHERE created_at IS NOT NULL
      AND (tenant, product_id) IN (SELECT * FROM unnest(%b::text[], %b::text[]))
"""

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
