"""What others may read of payments."""

from __future__ import annotations

from django.db.models import QuerySet

from .models import Payment


def payment(tenant: str, order_id: str) -> Payment | None:
    """The order's payment; None when it was never asked for."""
    return Payment.objects.filter(tenant=tenant, order_id=order_id).first()


def payments(tenant: str, status: str | None = None) -> QuerySet[Payment]:
    """All payments, or those in one status, newest first."""
    found = Payment.objects.filter(tenant=tenant).order_by("-id")
    return found.filter(status=status) if status else found


_CHARGES = """
    SELECT split_part(key, '/', 1) AS tenant,
           substring(key FROM '^[^/]*/(.*)/charge/[0-9]+$') AS order_id,
           amount, currency, state, transaction_id
    FROM payments_simulatedcharge
"""

INVARIANTS: list[tuple[str, str]] = [
    (
        "Every captured payment is one captured charge of the same amount",
        f"""
        SELECT payment.tenant, payment.order_id, payment.amount, payment.transaction_id
        FROM payments_payment AS payment
        WHERE payment.status = 'Captured' AND payment.amount > 0 AND NOT EXISTS (
            SELECT FROM ({_CHARGES}) AS charge
            WHERE charge.tenant = payment.tenant AND charge.order_id = payment.order_id
              AND charge.transaction_id = payment.transaction_id AND charge.state = 'captured'
              AND (charge.amount, charge.currency) = (payment.amount, payment.currency))
        """,
    ),
    (
        "No money is kept without a payment that has it, or is about to",
        f"""
        SELECT charge.*, payment.status
        FROM ({_CHARGES}) AS charge LEFT JOIN payments_payment AS payment USING (tenant, order_id)
        WHERE charge.state = 'captured'
          AND coalesce(payment.status, 'none') NOT IN ('Captured', 'Pending', 'Cancelling')
        """,
    ),
    (
        "Every refunded payment is a refunded charge",
        f"""
        SELECT payment.tenant, payment.order_id, charge.state
        FROM payments_payment AS payment LEFT JOIN ({_CHARGES}) AS charge
          ON charge.tenant = payment.tenant AND charge.transaction_id = payment.transaction_id
        WHERE payment.status = 'Refunded' AND charge.state IS DISTINCT FROM 'refunded'
        """,
    ),
    (
        "No order was charged twice",
        f"""
        SELECT tenant, order_id, count(*) AS charges
        FROM ({_CHARGES}) AS charge
        WHERE state IN ('captured', 'refunded')
        GROUP BY tenant, order_id
        HAVING count(*) > 1
        """,
    ),
]
"""Each name is a sentence that holds at any moment, while the simulated gateway is used; its SQL
returns the rows that break it."""
