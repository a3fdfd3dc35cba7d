"""The audit: every check of every service, and those that only the whole platform can be asked.

Services know nothing of each other, so what must hold between them is asked here, through their
`queries` and through the events that they have published.
"""

from __future__ import annotations

from collections.abc import Callable

from customers import queries as customers
from ecommerce.identity.models import Tenant
from ecommerce.messaging.invariants import Check, Finding, Offender, checks_of, rebuilds, run
from ecommerce.messaging.messages import Message, contract_of
from ecommerce.messaging.services import service, services
from ecommerce.values import Money
from inventory.contracts import InventoryCommitted, InventoryReleased, InventoryReserved
from orders.contracts import OrderCancelled, OrderDelivered, OrderShipped
from payments import queries as payments
from shipping.contracts import ShipmentCreated, ShipmentDelivered

PAID = ("Paid", "Shipped", "Delivered")
PLATFORM = "platform"


def checks(*, rebuild: bool = False) -> list[Check]:
    """All checks; with `rebuild` also that read models are what the events give, which takes long."""
    found = [check for config in services() for check in checks_of(config)]
    if rebuild:
        found += [check for config in services() for check in rebuilds(config)]
    return [*found, *BETWEEN_SERVICES]


def audit(
    *, rebuild: bool = False, patience: float = 5.0, asked: Callable[[Finding], None] | None = None
) -> list[Finding]:
    """Ask all checks; one that finds something is asked again for `patience` seconds.

    `asked` is called after each.
    """
    findings = []
    for check in checks(rebuild=rebuild):
        finding = run(check, patience)
        findings.append(finding)
        if asked is not None:
            asked(finding)
    return findings


def money_without_order() -> list[Offender]:
    """Money that was captured and is not that of an order which is paid, and the reverse."""
    found = []
    for tenant in Tenant.objects.values_list("slug", flat=True):
        captured = payments.payments(tenant, status="Captured")
        paid = customers.orders(tenant).filter(status__in=PAID)
        kept = {row[0]: row[1:] for row in captured.values_list("order_id", "amount", "currency")}
        owed = {row[0]: row[1:] for row in paid.values_list("order_id", "total", "currency")}
        found += [
            Offender(
                f"tenant {tenant}, order {order}: captured {_money(kept, order)}, "
                f"order {_money(owed, order)}",
                tenant,
            )
            for order in sorted(kept.keys() | owed.keys())
            if kept.get(order) != owed.get(order)
        ]
    return found


def shipped_and_still_in_stock() -> list[Offender]:
    """Shipped orders whose reservation was not committed."""
    return _named(_streams(OrderShipped) - _streams(InventoryCommitted))


def cancelled_and_still_holding_stock() -> list[Offender]:
    """Cancelled orders whose reservation was not released."""
    held = _streams(InventoryReserved) - _streams(InventoryReleased)
    return _named(_streams(OrderCancelled) & held)


def shipped_without_shipment() -> list[Offender]:
    """Orders that were shipped or delivered, of which shipping does not say so."""
    shipped = _streams(OrderShipped) - _streams(ShipmentCreated)
    return _named(shipped | (_streams(OrderDelivered) - _streams(ShipmentDelivered)))


def delivered_and_not_noticed() -> list[Offender]:
    """Shipments that have arrived, of whose orders nobody was told."""
    return _named(_streams(ShipmentDelivered) - _streams(OrderDelivered))


BETWEEN_SERVICES = [
    Check(PLATFORM, "captured money is that of paid orders, to the cent", money_without_order),
    Check(PLATFORM, "shipped orders have left the stock", shipped_and_still_in_stock),
    Check(PLATFORM, "cancelled orders hold no stock", cancelled_and_still_holding_stock),
    Check(PLATFORM, "shipped and delivered orders have a shipment", shipped_without_shipment),
    Check(PLATFORM, "delivered shipments are delivered orders", delivered_and_not_noticed),
]


def _money(amounts: dict[str, tuple[int, str]], order: str) -> str:
    return str(Money(*amounts[order])) if order in amounts else "nothing"


def _streams(event: type[Message]) -> set[tuple[str, str]]:
    """The tenants and streams in which an event has happened."""
    contract = contract_of(event)
    owner = service(contract.service)
    log = owner.tables.log._default_manager.using(owner.database)
    return set(log.filter(name=contract.name).values_list("tenant", "stream"))


def _named(streams: set[tuple[str, str]]) -> list[Offender]:
    return [
        Offender(f"tenant {tenant}, {stream.replace('/', ' ', 1)}", tenant)
        for tenant, stream in sorted(streams)
    ]
