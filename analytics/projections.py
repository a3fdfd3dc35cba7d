"""Sales figures from the orders' events.

One delivery of an event changes all figures. They only ever add up, steps only ever go on, and what
is known of a customer is a set of days, so that it does not matter in which order the events of
different orders come, nor whether a cancellation comes first.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.registry import Rows, projects
from inventory.contracts import ProductCreated
from orders.contracts import (
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderLine,
    OrderPaid,
    OrderReserved,
    OrderShipped,
)

from .models import (
    Buyer,
    Cohorts,
    DailySales,
    HourlySales,
    PlacedOrder,
    ProductName,
    ProductSales,
)

STEP_OF: dict[type[Message], str] = {
    OrderReserved: "held",
    OrderPaid: "paid",
    OrderShipped: "shipped",
    OrderDelivered: "delivered",
}


def happened_at(event: OrderCreated | OrderCancelled) -> datetime:
    """When the figures change, with the tenant's UTC offset: its date is the business day."""
    return event.created_at if isinstance(event, OrderCreated) else event.cancelled_at


def day_key(event: OrderCreated | OrderCancelled) -> tuple[date, str]:
    return happened_at(event).date(), event.totals.currency


def hour_key(event: OrderCreated | OrderCancelled) -> tuple[date, datetime, str]:
    """The local hour: it does not begin with an hour of UTC everywhere."""
    hour = happened_at(event).replace(minute=0, second=0, microsecond=0)
    return hour.date(), hour, event.totals.currency


def currency_of(event: OrderCreated) -> str:
    return event.totals.currency


def buyer_key(event: OrderCreated) -> tuple[str, str]:
    return event.totals.currency, event.customer_id


def product_keys(event: OrderCreated | OrderCancelled) -> list[tuple[str, date, str]]:
    products = dict.fromkeys(line.product_id for line in event.lines)
    day, currency = day_key(event)
    return [(product_id, day, currency) for product_id in products]


@projects(
    daily=day_key, hourly=hour_key, buyer=buyer_key, cohorts=currency_of, products=product_keys
)
def sales(
    event: OrderCreated,
    daily: DailySales | None,
    hourly: HourlySales | None,
    order: PlacedOrder | None,
    buyer: Buyer | None,
    cohorts: Cohorts | None,
    products: Rows[ProductSales],
) -> list[ReadModel]:
    """Count an order on the day and in the hour it was placed, and its customer."""
    day, currency = day_key(event)
    daily = daily or DailySales(day=day, currency=currency)
    hourly = hourly or _new_hour(event)
    order = order or PlacedOrder(order_id=event.order_id)
    buyer = buyer or Buyer(currency=currency, customer_id=event.customer_id)
    cohorts = cohorts or Cohorts(currency=currency)
    units, revenue = _by_product(event.lines)
    daily.orders += 1
    daily.revenue += event.totals.total
    daily.items += units.total()
    hourly.orders += 1
    hourly.revenue += event.totals.total
    order.day, order.currency, order.customer_id = day, currency, event.customer_id
    before = buyer.months
    if buyer.ordered_on(day):
        daily.unique_customers += 1
        cohorts.move(before, buyer.months)
    rows: list[ReadModel] = [daily, hourly, order, buyer, cohorts]
    for key in product_keys(event):
        product = products.get(key) or _new_product(key)
        product.times_ordered += 1
        product.units_sold += units[product.product_id]
        product.revenue += revenue[product.product_id]
        rows.append(product)
    return rows


@projects(daily=day_key, hourly=hour_key, products=product_keys)
def cancelled_sales(
    event: OrderCancelled,
    daily: DailySales | None,
    hourly: HourlySales | None,
    order: PlacedOrder | None,
    products: Rows[ProductSales],
) -> list[ReadModel]:
    """Take an order off on the day and in the hour it was cancelled."""
    day, currency = day_key(event)
    daily = daily or DailySales(day=day, currency=currency)
    hourly = hourly or _new_hour(event)
    units, revenue = _by_product(event.lines)
    daily.cancelled_orders += 1
    daily.cancelled_revenue += event.totals.total
    daily.cancelled_items += units.total()
    daily.cancelled_for[event.reason] = daily.cancelled_for.get(event.reason, 0) + 1
    hourly.cancelled_orders += 1
    hourly.cancelled_revenue += event.totals.total
    order = order or PlacedOrder(order_id=event.order_id)
    order.cancel_reason = event.reason
    rows: list[ReadModel] = [daily, hourly, order]
    for key in product_keys(event):
        product = products.get(key) or _new_product(key)
        product.times_cancelled += 1
        product.units_cancelled += units[product.product_id]
        product.cancelled_revenue += revenue[product.product_id]
        rows.append(product)
    return rows


@projects
def progress(
    event: OrderReserved | OrderPaid | OrderShipped | OrderDelivered, order: PlacedOrder | None
) -> PlacedOrder:
    """Note how far an order came."""
    order = order or PlacedOrder(order_id=event.order_id)
    order.come_to(STEP_OF[type(event)])
    return order


@projects
def product_name(event: ProductCreated, product: ProductName | None) -> ProductName:
    """Remember what a product is called."""
    product = product or ProductName(product_id=event.product_id)
    product.name = event.name
    return product


def _by_product(lines: tuple[OrderLine, ...]) -> tuple[Counter[str], Counter[str]]:
    """Units and revenue of each product: it may stand in several lines."""
    units: Counter[str] = Counter()
    revenue: Counter[str] = Counter()
    for line in lines:
        units[line.product_id] += line.quantity
        revenue[line.product_id] += line.line_total
    return units, revenue


def _new_hour(event: OrderCreated | OrderCancelled) -> HourlySales:
    day, hour, currency = hour_key(event)
    return HourlySales(day=day, hour=hour, currency=currency)


def _new_product(key: tuple[str, date, str]) -> ProductSales:
    product_id, day, currency = key
    return ProductSales(product_id=product_id, day=day, currency=currency)
