"""What others may ask about shipments. Reads only, always within one tenant."""

from __future__ import annotations

from django.db.models import Count

from .models import Shipment


def shipment_of(tenant: str, order_id: str) -> Shipment | None:
    """The shipment of an order, or None before it was asked for."""
    return Shipment.objects.filter(tenant=tenant, order_id=order_id).first()


def shipment_with(tenant: str, tracking_number: str) -> Shipment | None:
    """The shipment with this tracking number, or None."""
    if not tracking_number:
        return None
    return Shipment.objects.filter(tenant=tenant, tracking_number=tracking_number).first()


def latest_shipments(tenant: str, *, status: str | None = None, limit: int = 50) -> list[Shipment]:
    """The newest shipments first, of all statuses or one."""
    chosen = Shipment.objects.filter(tenant=tenant)
    if status is not None:
        chosen = chosen.filter(status=status)
    return list(chosen.order_by("-id")[:limit])


def shipments_by_status(tenant: str) -> dict[str, int]:
    """How many shipments there are in each status that occurs."""
    counted = Shipment.objects.filter(tenant=tenant).values_list("status")
    return dict(counted.annotate(number=Count("id")).order_by("status"))


# The simulated carrier's ledger knows a shipment as `tenant/shipment_id`.
INVARIANTS: list[tuple[str, str]] = [
    (
        "An order has at most one label at the carrier.",
        """
        SELECT split_part(reference, '/', 1) AS tenant, reference, count(*)
        FROM shipping_simulatedlabel
        GROUP BY reference HAVING count(*) > 1
        """,
    ),
    (
        "A shipment shows the label that the carrier sold for it.",
        """
        SELECT s.tenant, s.order_id, s.tracking_number, l.tracking_number
        FROM shipping_shipment s
        LEFT JOIN shipping_simulatedlabel l ON l.reference = s.tenant || '/' || s.shipment_id
        WHERE s.carrier IN ('SwiftParcel', 'Warehouse collection')
          AND (l.tracking_number IS NULL OR l.tracking_number <> s.tracking_number
               OR l.cost <> s.cost OR l.currency <> s.currency)
        """,
    ),
    (
        "A label was bought only for a shipment that was asked for and did not fail.",
        """
        SELECT split_part(l.reference, '/', 1) AS tenant, l.reference, s.status
        FROM shipping_simulatedlabel l
        LEFT JOIN shipping_shipment s ON l.reference = s.tenant || '/' || s.shipment_id
        WHERE s.id IS NULL OR s.status = 'Failed'
        """,
    ),
]
"""Statements that must return no row, each with what it checks."""
