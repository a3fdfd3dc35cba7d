"""What the customers service stores.

`Customer` is a person and their contacts, `Cart` what somebody is about to buy. `Product` is what
the shop shows; `OrderSummary` is an order as people see it, put together from three services;
`CustomerActivity` is what a customer's orders add up to.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar

import msgspec
from django.db import models
from django.db.models import F, Q
from django.templatetags.static import static

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Aggregate, ReadModel
from ecommerce.messaging.tables import service_tables

from .contracts import CartChanged, CartLine, ContactSaved, CustomerRegistered, NoticesChosen

tables = service_tables("customers")

PICTURES = Path(__file__).parent / "static" / "shop" / "pictures"
DRAWN = frozenset(path.stem for path in PICTURES.glob("*.svg"))
"""The products that have a picture of ours."""


class Customer(Aggregate):
    """A person who buys. A guest is known by their orders alone; saving contacts ends that."""

    key = "customer_id"

    customer_id = models.CharField(max_length=80)
    guest = models.BooleanField()
    name = models.TextField(default="", blank=True)
    email = models.TextField(default="", blank=True)
    phone = models.TextField(default="", blank=True)
    address = models.JSONField(null=True, blank=True)
    unwanted = models.JSONField(
        default=list, blank=True, help_text="What they do not want to be told."
    )
    quiet = models.JSONField(null=True, blank=True, help_text="When no text messages may come.")
    registered_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "customer_id"], name="customers_customer_once"
            ),
            models.CheckConstraint(
                condition=Q(guest=False) | Q(name="", email="", phone="", address=None),
                name="customers_customer_no_guest_with_contacts",
            ),
        ]

    def __str__(self) -> str:
        return f"customer {self.customer_id}"

    def apply(self, event: Message) -> None:
        """Change by one event of the customer's stream."""
        match event:
            case CustomerRegistered():
                self.customer_id, self.guest = event.customer_id, event.guest
                self.registered_at = event.registered_at
            case ContactSaved():
                self.guest = False
                self.name, self.email, self.phone = event.name, event.email, event.phone
                self.address = msgspec.to_builtins(event.address)
            case NoticesChosen():
                self.unwanted = list(event.unwanted)
                self.quiet = msgspec.to_builtins(event.quiet)


class Cart(Aggregate):
    """What somebody, known or not, is about to buy. It holds nothing back for them."""

    key = "cart_id"

    cart_id = models.CharField(max_length=80)
    lines = models.JSONField(default=list, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "cart_id"], name="customers_cart_once")
        ]

    def __str__(self) -> str:
        return f"cart {self.cart_id}"

    @property
    def quantities(self) -> dict[str, int]:
        """How many of each product, in the order in which they were first put in."""
        return {line["product_id"]: line["quantity"] for line in self.lines}

    def holding(self, quantities: dict[str, int]) -> CartChanged:
        """Hold these from now on."""
        lines = tuple(CartLine(product_id, count) for product_id, count in quantities.items())
        return self.record(CartChanged(cart_id=self.cart_id, lines=lines))

    def apply(self, event: Message) -> None:
        """Change by one event of the cart's stream."""
        match event:
            case CartChanged():
                self.cart_id = event.cart_id
                self.lines = [msgspec.to_builtins(line) for line in event.lines]


class Product(ReadModel):
    """A product as the shop shows it, from inventory's events.

    Until its `ProductCreated` is heard there is no `created_at`, and nobody may see the row.
    """

    key = "product_id"

    product_id = models.CharField(max_length=80)
    name = models.CharField(max_length=200, default="", blank=True)
    description = models.TextField(default="", blank=True)
    category = models.CharField(max_length=40, default="", blank=True)
    price = models.BigIntegerField(default=0, help_text="In minor units.")
    currency = models.CharField(max_length=3, default="", blank=True)
    image_url = models.CharField(max_length=500, default="", blank=True)
    available = models.BigIntegerField(default=0, help_text="What can be ordered now.")
    created_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "product_id"], name="customers_product_once")
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "category", "name"], name="product_on_its_shelf")
        ]

    def __str__(self) -> str:
        return f"{self.product_id} {self.name}"

    @property
    def picture(self) -> str:
        """The address of its picture: its own if that is on this site, else one that we drew."""
        if self.image_url.startswith("/"):
            return self.image_url
        name = self.product_id if self.product_id in DRAWN else "other"
        return static(f"shop/pictures/{name}.svg")


class OrderSummary(ReadModel):
    """An order with its payment and shipment. Amounts are in minor units of `currency`.

    Each column follows the events of one service only, so that it does not matter which service
    is heard first. Until orders is heard there is no `created_at`, and nobody may see the row.
    """

    key = "order_id"

    # From orders
    order_id = models.CharField(max_length=80)
    customer_id = models.CharField(max_length=80, default="", blank=True)
    status = models.CharField(max_length=20, default="", blank=True)
    cancel_reason = models.CharField(max_length=40, default="", blank=True)
    currency = models.CharField(max_length=3, default="", blank=True)
    subtotal = models.BigIntegerField(default=0)
    discount = models.BigIntegerField(default=0)
    shipping = models.BigIntegerField(default=0)
    tax = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    item_count = models.IntegerField(default=0, help_text="How many lines it has.")
    lines = models.JSONField(default=list, blank=True)
    shipping_address = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(null=True, blank=True)
    reached = models.JSONField(
        default=dict, blank=True, help_text="When it came to each status that it had."
    )
    # From payments
    payment_id = models.CharField(max_length=90, default="", blank=True)
    payment_status = models.CharField(max_length=20, default="", blank=True)
    payment_processed_at = models.DateTimeField(null=True, blank=True)
    transaction_id = models.CharField(max_length=120, default="", blank=True)
    # From shipping
    shipment_id = models.CharField(max_length=90, default="", blank=True)
    shipment_status = models.CharField(max_length=20, default="", blank=True)
    carrier = models.CharField(max_length=60, default="", blank=True)
    tracking_number = models.CharField(max_length=80, default="", blank=True)
    estimated_delivery = models.DateField(null=True, blank=True)
    actual_delivery = models.DateTimeField(null=True, blank=True)
    # When the latest of all its events was recorded
    updated_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "order summaries"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "order_id"], name="customers_ordersummary_once"
            ),
            models.CheckConstraint(
                condition=Q(total=F("subtotal") - F("discount") + F("shipping") + F("tax")),
                name="customers_ordersummary_totals_add_up",
            ),
            models.CheckConstraint(
                condition=Q(created_at=None) | ~Q(customer_id="") & ~Q(currency=""),
                name="customers_ordersummary_no_half_order",
            ),
        ]
        # Newest first, with the primary key as tie-break: what `ecommerce.web.page` asks for.
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "customer_id", "-created_at", "-id"],
                name="ordersummary_of_customer",
            ),
            models.Index(
                fields=["tenant", "status", "-created_at", "-id"], name="ordersummary_by_status"
            ),
            models.Index(fields=["tenant", "-created_at", "-id"], name="ordersummary_newest"),
        ]

    def __str__(self) -> str:
        return f"order {self.order_id}"

    def heard(self, recorded_at: datetime) -> None:
        """Note when an event was recorded; one that arrives late does not turn time back."""
        self.updated_at = max(self.updated_at or recorded_at, recorded_at)


class CustomerActivity(ReadModel):
    """What a customer's orders add up to.

    An order counts, with its total, from when it is placed until it is cancelled; the money is
    taken off then, and a refund takes nothing off again. First and last order are by the time
    they were placed at (then by id), and cancelled ones stay what they are. All of it depends on
    the set of orders only, not on the order in which they are heard of.
    """

    key = "customer_id"

    customer_id = models.CharField(max_length=80)
    total_orders = models.IntegerField(default=0)
    spent = models.JSONField(default=dict, help_text="By currency, in minor units.")
    currency = models.CharField(max_length=3, help_text="That of the first order.")
    first_order_id = models.CharField(max_length=80)
    first_order_at = models.DateTimeField()
    last_order_id = models.CharField(max_length=80)
    last_order_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "customer activities"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "customer_id"], name="customers_customeractivity_once"
            ),
            models.CheckConstraint(
                condition=Q(first_order_at__lte=F("last_order_at")),
                name="customers_customeractivity_no_last_before_first",
            ),
        ]

    def __str__(self) -> str:
        return f"activity of {self.customer_id}"

    @property
    def total_spent(self) -> int:
        """What the orders in the first order's currency cost, in minor units.

        Orders in other currencies count in `total_orders`, and in `spent` under their own.
        """
        amount: int = self.spent.get(self.currency, 0)
        return amount

    def count(self, orders: int, amount: int, currency: str) -> None:
        """Add a number of orders and what they cost; negative ones for a cancelled order."""
        self.total_orders += orders
        self.spent = {**self.spent, currency: self.spent.get(currency, 0) + amount}

    def saw(self, order_id: str, created_at: datetime, currency: str) -> None:
        """Note when an order was placed, which may make it the first or the last."""
        this = (created_at, order_id)
        if self.first_order_at is None or this < (self.first_order_at, self.first_order_id):
            self.first_order_at, self.first_order_id = this
            self.currency = currency
        if self.last_order_at is None or this > (self.last_order_at, self.last_order_id):
            self.last_order_at, self.last_order_id = this
