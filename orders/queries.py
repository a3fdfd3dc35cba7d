"""Reading the orders service: its orders, now and then, their history, and what must never be found.

Lists of orders are answered by the customers service, from its own read model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from ecommerce.messaging import tenancy
from ecommerce.messaging.database import connection
from ecommerce.messaging.events import read_stream
from ecommerce.messaging.folds import Moment, Past, as_of
from ecommerce.messaging.messages import Message
from ecommerce.messaging.services import service

from .models import Fulfilment, Order


@dataclass(frozen=True)
class HistoryEntry:
    """One event of an order. `fields` has the personal ones, too: it is for those who may see the
    order."""

    version: int
    event: str
    recorded_at: datetime
    actor: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Traffic:
    """A shop's orders of the last minute, and those whose process has not ended; both are counted
    up to MOST_COUNTED."""

    tenant: str
    placed: int
    under_way: int


MOST_COUNTED = 10_000
_TRAFFIC = """
    SELECT asked.tenant, placed.n, open.n FROM unnest(%b::text[]) AS asked(tenant),
        LATERAL (SELECT count(*) AS n FROM (
            SELECT FROM orders_order WHERE tenant = asked.tenant AND id > rpad(lpad(to_hex(
                (extract(epoch FROM statement_timestamp()) * 1000)::bigint - 60000), 12, '0'), 32, '0')::uuid
            LIMIT %b::int) AS some_placed) AS placed,
        LATERAL (SELECT count(*) AS n FROM (
            SELECT FROM orders_fulfilment WHERE tenant = asked.tenant AND deadline_at IS NOT NULL
            LIMIT %b::int) AS some_open) AS open
"""


def find_order(tenant: str, order_id: str) -> Order | None:
    """The order with this id."""
    return Order.objects.filter(tenant=tenant, order_id=order_id).first()


def fulfilment(tenant: str, order_id: str) -> Fulfilment | None:
    """Where the process of delivering an order stands."""
    return Fulfilment.objects.filter(tenant=tenant, order_id=order_id).first()


def order_as_of(tenant: str, order_id: str, moment: Moment | None) -> Past[Order] | None:
    """The order as it was at a version or an instant; None when there was none."""
    return as_of(Order, tenant, order_id, moment)


def stalled(tenant: str, *, limit: int) -> list[Fulfilment]:
    """Orders that do not go on until an operator has looked, with why."""
    found = Fulfilment.objects.filter(tenant=tenant).exclude(attention="")
    return list(found[:limit])


def history(tenant: str, order_id: str) -> list[HistoryEntry]:
    """What happened to an order, oldest first; empty for one that does not exist."""
    return [
        HistoryEntry(
            stored.version,
            stored.name.partition(".")[2],
            stored.recorded_at,
            stored.actor,
            _fields(stored.message()),
        )
        for stored in read_stream("orders", tenant, f"order/{order_id}")
    ]


def traffic(tenants: Sequence[str]) -> list[Traffic]:
    """How busy each of these shops is. For all at once, whoever asks: a shop is shown its own only.

    Ids begin with their time, so the key's index has the last minute's orders.
    """
    with tenancy.acting_for(tenancy.EVERY), connection(service("orders").database) as conn:
        rows = conn.execute(_TRAFFIC, (list(tenants), MOST_COUNTED, MOST_COUNTED)).fetchall()
    return [Traffic(*row) for row in rows]


def _fields(event: Message) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    del fields["order_id"]
    return fields


# Each finds rows that should not exist, by tenant and order. The sweep empties a deadline when it
# sends ExpireOrder, so for a moment an open step may wait for that message alone.
INVARIANTS: list[tuple[str, str]] = [
    (
        "an order's lines and amounts add up",
        """
        SELECT o.tenant, o.order_id, o.subtotal, o.total, l.amount AS lines
        FROM orders_order o CROSS JOIN LATERAL (
            SELECT sum((line->>'quantity')::bigint * (line->>'unit_price')::bigint) AS amount
            FROM jsonb_array_elements(o.lines) line
        ) l
        WHERE o.subtotal IS DISTINCT FROM l.amount
           OR o.total <> o.subtotal - o.discount + o.shipping + o.tax
        """,
    ),
    (
        "a saga that has ended has no deadline",
        """
        SELECT tenant, order_id, step, deadline_at FROM orders_fulfilment
        WHERE step IN ('done', 'closed') AND deadline_at IS NOT NULL
        """,
    ),
    (
        "no order is stuck without anybody knowing",
        """
        SELECT f.tenant, f.order_id, f.step, f.deadline_at FROM orders_fulfilment f
        WHERE f.step IN ('reserving', 'paying', 'cancelling', 'shipping') AND f.attention = ''
          AND (f.deadline_at < messaging_now() - interval '60 s' OR f.deadline_at IS NULL)
          AND NOT EXISTS (
            SELECT FROM orders_log l
            WHERE l.tenant = f.tenant AND l.stream = 'order/' || f.order_id
              AND l.name = 'orders.ExpireOrder'
              AND l.recorded_at > messaging_now() - interval '60 s'
          )
        """,
    ),
    (
        "an order's status is that of its saga's step",
        """
        SELECT tenant, order_id, o.status, f.step
        FROM orders_order o FULL JOIN orders_fulfilment f USING (tenant, order_id)
        WHERE CASE f.step
            WHEN 'reserving' THEN o.status = 'Pending'
            WHEN 'paying' THEN o.status = 'Reserved'
            WHEN 'cancelling' THEN o.status = 'Cancelling'
            WHEN 'shipping' THEN o.status = 'Paid'
            WHEN 'done' THEN o.status IN ('Shipped', 'Delivered')
            WHEN 'closed' THEN o.status = 'Cancelled' AND o.cancel_reason = f.cancel_reason
        END IS NOT TRUE
        """,
    ),
]
