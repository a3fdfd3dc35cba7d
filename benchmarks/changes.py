"""Which business rows each service writes about a message: what the raw twin repeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SERVICES = (
    "orders",
    "inventory",
    "payments",
    "shipping",
    "notifications",
    "customers",
    "analytics",
)  # fmt: skip
PROVIDERS = {
    "payments": "payments_simulatedcharge",
    "shipping": "shipping_simulatedlabel",
    "notifications": "notifications_mail",
}
"""The table that a service's effects write outside."""


@dataclass(frozen=True)
class New:
    """A row for the order (or the notification), with these values instead of its last ones."""

    table: str
    first: dict[str, Any]


@dataclass(frozen=True)
class Set:
    """These columns of that row get their last values; `given` ones these values."""

    table: str
    columns: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shared:
    """All columns of the rows that orders share, by product, customer or (without a key) all."""

    table: str
    key: str = ""


Change = New | Set | Shared
_NOT_PAID = {"payment_id": "", "payment_status": "", "transaction_id": ""}
_NOT_SENT: dict[str, Any] = {"carrier": "", "tracking_number": "", "estimated_delivery": None}
_LABEL = (*_NOT_SENT, "label_url", "cost", "currency", "status")
SUMMARY = "customers_ordersummary"

CHANGES: dict[tuple[str, str], tuple[Change, ...]] = {
    ("inventory", "inventory.ReserveInventory"): (
        New("inventory_reservation", {"status": "Reserved"}),
        Shared("inventory_stockitem", "product_id"),
    ),
    ("inventory", "inventory.InventoryReserved"): (
        Shared("inventory_inventorysummary", "product_id"),
    ),
    ("inventory", "inventory.StockReserved"): (Shared("inventory_inventorylevel", "product_id"),),
    ("inventory", "inventory.CommitInventory"): (
        Set("inventory_reservation", ("status",)),
        Shared("inventory_stockitem", "product_id"),
    ),
    ("inventory", "inventory.StockCommitted"): (Shared("inventory_inventorylevel", "product_id"),),
    ("orders", "inventory.InventoryReserved"): (
        Set("orders_order", given={"status": "Reserved"}),
        Set("orders_fulfilment", given={"step": "paying"}),
    ),
    ("orders", "payments.PaymentProcessed"): (
        Set("orders_order", ("payment_id",), {"status": "Paid"}),
        Set("orders_fulfilment", ("deadline_at",), {"step": "shipping"}),
    ),
    ("orders", "shipping.ShipmentCreated"): (
        Set("orders_order", ("status", "shipment_id", "tracking_number")),
        Set("orders_fulfilment", ("step", "deadline_at")),
    ),
    ("payments", "payments.ProcessPayment"): (
        New(
            "payments_payment", {"status": "Pending", "transaction_id": "", "processed_at": None}
        ),
    ),
    ("payments", "payments.RecordCharge"): (
        Set("payments_payment", ("status", "transaction_id", "processed_at")),
    ),
    ("shipping", "shipping.CreateShipment"): (
        New(
            "shipping_shipment",
            {**_NOT_SENT, "label_url": "", "cost": None, "currency": "", "status": "Requested"},
        ),
    ),
    ("shipping", "shipping.RecordLabel"): (Set("shipping_shipment", _LABEL),),
    ("notifications", "orders.OrderCreated"): (
        New(
            "notifications_notification", {"status": "Queued", "provider_id": "", "sent_at": None}
        ),
    ),
    ("notifications", "payments.PaymentProcessed"): (
        New(
            "notifications_notification", {"status": "Queued", "provider_id": "", "sent_at": None}
        ),
    ),
    ("notifications", "shipping.ShipmentCreated"): (
        New(
            "notifications_notification", {"status": "Queued", "provider_id": "", "sent_at": None}
        ),
    ),
    ("notifications", "notifications.RecordNotification"): (
        Set("notifications_notification", ("status", "provider_id", "sent_at")),
    ),
    ("customers", "orders.OrderCreated"): (
        New(
            SUMMARY,
            {
                **_NOT_PAID,
                **_NOT_SENT,
                "status": "Pending",
                "payment_processed_at": None,
                "shipment_id": "",
                "shipment_status": "",
            },
        ),
        Shared("customers_customeractivity", "customer_id"),
    ),
    ("customers", "orders.OrderReserved"): (
        Set(SUMMARY, ("updated_at",), {"status": "Reserved"}),
    ),
    ("customers", "payments.PaymentRequested"): (
        Set(SUMMARY, ("payment_id", "updated_at"), {"payment_status": "Pending"}),
    ),
    ("customers", "payments.PaymentProcessed"): (
        Set(SUMMARY, ("payment_status", "payment_processed_at", "transaction_id", "updated_at")),
    ),
    ("customers", "orders.OrderPaid"): (Set(SUMMARY, ("updated_at",), {"status": "Paid"}),),
    ("customers", "shipping.ShipmentCreated"): (
        Set(SUMMARY, ("shipment_id", "shipment_status", *_NOT_SENT, "updated_at")),
    ),
    ("customers", "orders.OrderShipped"): (Set(SUMMARY, ("status", "updated_at")),),
    ("analytics", "orders.OrderCreated"): (
        Shared("analytics_dailysales"),
        Shared("analytics_hourlysales"),
        New("analytics_placedorder", {"reached": 0}),
        Shared("analytics_buyer", "customer_id"),
        Shared("analytics_cohorts"),
        Shared("analytics_productsales", "product_id"),
    ),
    ("analytics", "orders.OrderReserved"): (Set("analytics_placedorder", given={"reached": 1}),),
    ("analytics", "orders.OrderPaid"): (Set("analytics_placedorder", given={"reached": 2}),),
    ("analytics", "orders.OrderShipped"): (Set("analytics_placedorder", given={"reached": 3}),),
}  # fmt: skip
