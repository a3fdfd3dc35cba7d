"""Inventory's read models, fed event by event."""

import uuid
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from ecommerce.messaging.context import Context
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.registry import Rows
from inventory import projections
from inventory.contracts import (
    InventoryAdjusted,
    InventoryInsufficient,
    InventoryReserved,
    InventoryRestocked,
    ProductCreated,
    ReservedLine,
    Shortage,
    StockCommitted,
    StockReleased,
    StockReserved,
)
from inventory.models import InventoryLevel, InventorySummary

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def at(minute: int) -> Context:
    return Context(
        tenant="main",
        actor="user:1",
        message_id=uuid.UUID(int=1),
        correlation_id=uuid.UUID(int=2),
        cause_id=None,
        traceparent=None,
        recorded_at=START + timedelta(minutes=minute),
        now=START + timedelta(days=1),
    )


def columns(row: ReadModel) -> dict[str, Any]:
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}


LEDGER: list[projections.Ledger] = [
    ProductCreated(
        product_id="scarf",
        name="Club Scarf",
        description="Warm.",
        price=1999,
        currency="USD",
        image_url=None,
        created_at=START,
    ),
    InventoryRestocked(product_id="scarf", quantity=20),
    InventoryAdjusted(product_id="scarf", change=-2, reason="lost"),
    StockReserved(product_id="scarf", order_id="o1", warehouse="main", quantity=5),
    StockReleased(product_id="scarf", order_id="o1", warehouse="main", quantity=1),
    StockCommitted(product_id="scarf", order_id="o1", warehouse="main", quantity=3),
]


def level_after(events: list[tuple[int, projections.Ledger]]) -> InventoryLevel:
    level: InventoryLevel | None = None
    for minute, event in events:
        level = projections.inventory_levels(event, level, at(minute)) or level
    assert level is not None
    return level


def test_the_first_event_of_a_product_makes_its_level() -> None:
    level = projections.inventory_levels(LEDGER[0], None, at(0))

    assert level is not None
    assert (level.product_id, level.name, level.available) == ("scarf", "Club Scarf", 0)


def test_an_existing_level_is_changed_and_not_returned() -> None:
    level = level_after([(0, LEDGER[0])])

    returned = projections.inventory_levels(LEDGER[1], level, at(1))

    assert returned is None
    assert (level.quantity, level.last_updated) == (20, START + timedelta(minutes=1))


def test_levels_follow_the_ledger() -> None:
    level = level_after(list(enumerate(LEDGER)))

    assert columns(level) == {
        "tenant": "main",
        "product_id": "scarf",
        "name": "Club Scarf",
        "quantity": 15,
        "reserved": 1,
        "available": 14,
        "last_updated": START + timedelta(minutes=5),
    }


def test_levels_end_the_same_in_every_order() -> None:
    expected = columns(level_after(list(enumerate(LEDGER))))

    for order in permutations(enumerate(LEDGER)):
        assert columns(level_after(list(order))) == expected


def reserved(order_id: str, *lines: tuple[str, str, int]) -> InventoryReserved:
    return InventoryReserved(
        order_id=order_id,
        lines=tuple(ReservedLine(*line, "main") for line in lines),
        expires_at=START,
    )


ANSWERS: list[InventoryReserved | InventoryInsufficient] = [
    reserved("o1", ("1", "scarf", 2), ("2", "cap", 1), ("3", "scarf", 1)),
    InventoryInsufficient(order_id="o2", shortages=(Shortage("scarf", 9, 7),)),
    reserved("o3", ("1", "scarf", 4)),
]


def summaries_after(
    events: list[tuple[int, InventoryReserved | InventoryInsufficient]],
) -> dict[str, InventorySummary]:
    kept: dict[str, InventorySummary] = {}
    for minute, event in events:
        named = projections._product_ids(event)
        loaded: Rows[InventorySummary] = Rows({p: kept[p] for p in named if p in kept})
        for summary in projections.inventory_summary(event, loaded, at(minute)):
            assert summary.product_id not in kept
            kept[summary.product_id] = summary
    return kept


def test_summaries_count_orders_units_and_shortages() -> None:
    summaries = summaries_after(list(enumerate(ANSWERS)))

    assert columns(summaries["scarf"]) == {
        "tenant": "main",
        "product_id": "scarf",
        "total_reservations": 2,
        "total_reserved_quantity": 7,
        "total_insufficient_count": 1,
        "last_reservation_at": START + timedelta(minutes=2),
        "last_insufficient_at": START + timedelta(minutes=1),
    }
    assert columns(summaries["cap"]) == {
        "tenant": "main",
        "product_id": "cap",
        "total_reservations": 1,
        "total_reserved_quantity": 1,
        "total_insufficient_count": 0,
        "last_reservation_at": START,
        "last_insufficient_at": None,
    }


@pytest.mark.parametrize("order", list(permutations(range(len(ANSWERS)))))
def test_summaries_end_the_same_in_every_order(order: tuple[int, ...]) -> None:
    expected = {p: columns(s) for p, s in summaries_after(list(enumerate(ANSWERS))).items()}

    summaries = summaries_after([(index, ANSWERS[index]) for index in order])

    assert {p: columns(s) for p, s in summaries.items()} == expected
