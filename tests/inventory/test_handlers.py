"""Inventory's decisions, as functions: what they return, and what the rows became."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Conflict, Invalid
from ecommerce.messaging.messages import Message, contract_of
from ecommerce.messaging.models import Aggregate
from ecommerce.messaging.registry import Rows
from inventory import handlers
from inventory.contracts import (
    AdjustInventory,
    CommitInventory,
    CreateProduct,
    InventoryAdjusted,
    InventoryCommitted,
    InventoryInsufficient,
    InventoryReleased,
    InventoryReserved,
    InventoryRestocked,
    ProductCreated,
    ReleaseInventory,
    ReservedLine,
    ReserveInventory,
    RestockInventory,
    Shortage,
    StockCommitted,
    StockReleased,
    StockReserved,
    WantedLine,
)
from inventory.models import Product, Reservation, StockItem

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
DEADLINE = NOW + timedelta(minutes=15)
CONTEXT = Context(
    tenant="main",
    actor="user:1",
    message_id=uuid.UUID(int=1),
    correlation_id=uuid.UUID(int=2),
    cause_id=None,
    traceparent=None,
    recorded_at=NOW,
    now=NOW,
)


def columns(row: Aggregate) -> dict[str, Any]:
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}


def fold(row: Aggregate, events: Sequence[Any]) -> dict[str, Any]:
    """The columns of a fresh row of that kind after these events, in order."""
    again = type(row)(tenant=row.tenant)
    for event in events:
        again.apply(event)
    return columns(again)


def product_created(product_id: str) -> ProductCreated:
    return ProductCreated(
        product_id=product_id,
        name="Club Scarf",
        description="Warm.",
        price=1999,
        currency="USD",
        image_url=None,
        created_at=NOW,
    )


class Shop:
    """One tenant's rows, and every event so far: what the kernel keeps around the handlers."""

    def __init__(self, **stock: int) -> None:
        self.events: list[Message] = []
        self.stock: Rows[StockItem] = Rows()
        self.reservations: dict[str, Reservation] = {}
        for product_id, on_hand in stock.items():
            item = self.stock[product_id] = StockItem(tenant="main")
            self.events.append(item.record(product_created(product_id)))
            arrived = InventoryRestocked(product_id=product_id, quantity=on_hand)
            self.events.append(item.record(arrived))

    def reserve(self, order_id: str, *lines: tuple[str, str, int]) -> list[Message]:
        command = ReserveInventory(
            order_id=order_id,
            lines=tuple(WantedLine(*line) for line in lines),
            expires_at=DEADLINE,
        )
        found = self._rows(command.product_ids)
        reservation = self.reservations.get(order_id)
        return self._keep(handlers.reserve_inventory(command, found, reservation, CONTEXT))

    def release(self, order_id: str, *product_ids: str) -> list[Message]:
        command = ReleaseInventory(
            order_id=order_id, product_ids=product_ids, reason="payment_declined"
        )
        found = self._rows(product_ids)
        reservation = self.reservations.get(order_id)
        return self._keep(handlers.release_inventory(command, found, reservation, CONTEXT))

    def commit(self, order_id: str, *product_ids: str) -> list[Message]:
        command = CommitInventory(order_id=order_id, product_ids=product_ids)
        found = self._rows(product_ids)
        return self._keep(
            handlers.commit_inventory(command, found, self.reservations.get(order_id))
        )

    def levels(self, product_id: str) -> tuple[int, int, int]:
        item = self.stock[product_id]
        return item.on_hand, item.reserved, item.available

    def assert_rows_are_folds(self) -> None:
        for row in (*self.stock.values(), *self.reservations.values()):
            (key,) = row.key_columns()
            stream = f"{key.removesuffix('_id')}/{getattr(row, key)}"
            own = [e for e in self.events if contract_of(e).stream_of(e) == stream]
            assert fold(row, own) == columns(row)

    def _rows(self, product_ids: Any) -> Rows[StockItem]:
        return Rows({p: self.stock[p] for p in product_ids if p in self.stock})

    def _keep(self, results: Any) -> list[Message]:
        for row in results:
            if isinstance(row, Reservation):
                assert row.order_id not in self.reservations
                self.reservations[row.order_id] = row
        messages = [result for result in results if isinstance(result, Message)]
        self.events += messages
        return messages


# Catalogue and stock: people's commands


def new_product(**changes: Any) -> CreateProduct:
    fields: dict[str, Any] = {
        "product_id": "prod-456",
        "name": "Club Scarf",
        "description": "Warm.",
        "price": 1999,
        "currency": "USD",
        "initial_stock": 100,
    }
    return CreateProduct(**fields | changes)


def test_a_new_product_has_its_first_stock() -> None:
    results = handlers.create_product(new_product(), None, CONTEXT)

    product, stock, *events = results
    assert isinstance(product, Product)
    assert isinstance(stock, StockItem)
    assert events == [
        product_created("prod-456"),
        InventoryRestocked(product_id="prod-456", quantity=100),
    ]
    assert (product.price, product.currency, product.active) == (1999, "USD", True)
    assert (stock.warehouse, stock.on_hand, stock.reserved) == ("main", 100, 0)
    assert fold(product, events) == columns(product)
    assert fold(stock, events) == columns(stock)


def test_a_new_product_without_stock_has_no_restock_in_its_ledger() -> None:
    _, stock, *events = handlers.create_product(new_product(initial_stock=0), None, CONTEXT)

    assert events == [product_created("prod-456")]
    assert isinstance(stock, StockItem)
    assert stock.available == 0


def test_a_taken_product_id_is_refused_and_the_product_stays_as_it_was() -> None:
    existing = Product(tenant="main")
    existing.apply(product_created("prod-456"))
    before = columns(existing)

    with pytest.raises(Conflict) as refusal:
        handlers.create_product(new_product(name="Other", price=1), existing, CONTEXT)

    assert refusal.value.code == "product-exists"
    assert columns(existing) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("product_id", ""),
        ("product_id", "prod/456"),
        ("product_id", "-456"),
        ("product_id", "p" * 65),
        ("product_id", "prod-456\n"),
        ("name", "  "),
        ("name", "n" * 201),
        ("price", -1),
        ("price", 10**12 + 1),
        ("currency", "usd"),
        ("currency", "USD\n"),
        ("initial_stock", -1),
        ("initial_stock", 10**9 + 1),
    ],
)
def test_a_product_that_cannot_be_is_refused_by_field(field: str, value: object) -> None:
    with pytest.raises(Invalid) as refusal:
        handlers.create_product(new_product(**{field: value}), None, CONTEXT)

    assert refusal.value.field == field


def test_restocking_adds_units() -> None:
    shop = Shop(scarf=5)
    stock = shop.stock["scarf"]

    event = handlers.restock(RestockInventory(product_id="scarf", quantity=20), stock)

    assert event == InventoryRestocked(product_id="scarf", quantity=20)
    assert shop.levels("scarf") == (25, 0, 25)


@pytest.mark.parametrize("quantity", [0, -1, 10**9 - 4])
def test_restocking_nothing_or_too_much_is_refused(quantity: int) -> None:
    shop = Shop(scarf=5)

    with pytest.raises(Invalid) as refusal:
        handlers.restock(
            RestockInventory(product_id="scarf", quantity=quantity), shop.stock["scarf"]
        )

    assert refusal.value.field == "quantity"
    assert shop.levels("scarf") == (5, 0, 5)


def test_adjusting_corrects_the_count_by_a_difference() -> None:
    shop = Shop(scarf=10)
    stock = shop.stock["scarf"]

    event = handlers.adjust(
        AdjustInventory(product_id="scarf", change=-3, reason=" water damage "), stock
    )

    assert event == InventoryAdjusted(product_id="scarf", change=-3, reason="water damage")
    assert shop.levels("scarf") == (7, 0, 7)


def test_adjusting_may_take_everything_that_is_not_held() -> None:
    shop = Shop(scarf=10)
    shop.reserve("o1", ("1", "scarf", 4))

    handlers.adjust(
        AdjustInventory(product_id="scarf", change=-6, reason="lost"), shop.stock["scarf"]
    )

    assert shop.levels("scarf") == (4, 4, 0)


def test_adjusting_never_takes_what_orders_hold() -> None:
    shop = Shop(scarf=10)
    shop.reserve("o1", ("1", "scarf", 4))

    with pytest.raises(Conflict) as refusal:
        handlers.adjust(
            AdjustInventory(product_id="scarf", change=-7, reason="lost"), shop.stock["scarf"]
        )

    assert (refusal.value.code, refusal.value.extra) == ("stock-reserved", {"available": 6})
    assert shop.levels("scarf") == (10, 4, 6)


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [(0, "recount", "change"), (5, " ", "reason"), (10**9, "recount", "change")],
)
def test_an_adjustment_without_change_reason_or_measure_is_refused(
    change: int, reason: str, field: str
) -> None:
    shop = Shop(scarf=10)

    with pytest.raises(Invalid) as refusal:
        handlers.adjust(
            AdjustInventory(product_id="scarf", change=change, reason=reason), shop.stock["scarf"]
        )

    assert refusal.value.field == field
    assert shop.levels("scarf") == (10, 0, 10)


# Reservations: the saga's commands


def test_reserving_holds_every_line_and_writes_one_ledger_event_per_product() -> None:
    shop = Shop(scarf=10, cap=3)

    events = shop.reserve("o1", ("1", "scarf", 2), ("2", "cap", 3), ("3", "scarf", 4))

    lines = (
        ReservedLine("1", "scarf", 2, "main"),
        ReservedLine("2", "cap", 3, "main"),
        ReservedLine("3", "scarf", 4, "main"),
    )
    assert events == [
        InventoryReserved(order_id="o1", lines=lines, expires_at=DEADLINE),
        StockReserved(product_id="scarf", order_id="o1", warehouse="main", quantity=6),
        StockReserved(product_id="cap", order_id="o1", warehouse="main", quantity=3),
    ]
    assert shop.levels("scarf") == (10, 6, 4)
    assert shop.levels("cap") == (3, 3, 0)
    reservation = shop.reservations["o1"]
    assert (reservation.status, reservation.expires_at) == ("Reserved", DEADLINE)
    assert reservation.held_lines == lines
    shop.assert_rows_are_folds()


def test_one_short_line_means_that_nothing_is_held() -> None:
    shop = Shop(scarf=10, cap=2)

    events = shop.reserve("o1", ("1", "scarf", 2), ("2", "cap", 3), ("3", "ghost", 1))

    shortages = (Shortage("cap", 3, 2), Shortage("ghost", 1, 0))
    assert events == [InventoryInsufficient(order_id="o1", shortages=shortages)]
    assert shop.levels("scarf") == (10, 0, 10)
    assert shop.levels("cap") == (2, 0, 2)
    reservation = shop.reservations["o1"]
    assert (reservation.status, reservation.lines) == ("Insufficient", [])
    assert reservation.reason == "cap: 3 wanted, 2 available, ghost: 1 wanted, 0 available"
    shop.assert_rows_are_folds()


def test_lines_of_one_product_are_summed_before_they_are_compared_with_the_stock() -> None:
    shop = Shop(scarf=5)

    events = shop.reserve("o1", ("1", "scarf", 3), ("2", "scarf", 3))

    assert events == [InventoryInsufficient(order_id="o1", shortages=(Shortage("scarf", 6, 5),))]
    assert shop.levels("scarf") == (5, 0, 5)


def test_of_two_orders_for_the_last_unit_the_first_gets_it() -> None:
    shop = Shop(scarf=1)

    shop.reserve("o1", ("1", "scarf", 1))
    second = shop.reserve("o2", ("1", "scarf", 1))

    assert second == [InventoryInsufficient(order_id="o2", shortages=(Shortage("scarf", 1, 0),))]
    assert shop.levels("scarf") == (1, 1, 0)


def test_fifty_of_two_hundred_buyers_get_the_fifty_units() -> None:
    shop = Shop(scarf=50)

    for number in range(200):
        shop.reserve(f"o{number}", ("1", "scarf", 1))

    statuses = [reservation.status for reservation in shop.reservations.values()]
    assert (statuses.count("Reserved"), statuses.count("Insufficient")) == (50, 150)
    assert shop.levels("scarf") == (50, 50, 0)
    shop.assert_rows_are_folds()


def test_reserving_again_changes_nothing() -> None:
    shop = Shop(scarf=10)
    shop.reserve("o1", ("1", "scarf", 2))

    assert shop.reserve("o1", ("1", "scarf", 2)) == []
    assert shop.levels("scarf") == (10, 2, 8)


def test_releasing_gives_back_what_was_held() -> None:
    shop = Shop(scarf=10, cap=3)
    shop.reserve("o1", ("1", "scarf", 2), ("2", "cap", 1), ("3", "scarf", 1))

    events = shop.release("o1", "scarf", "cap")

    lines = (
        ReservedLine("1", "scarf", 2, "main"),
        ReservedLine("2", "cap", 1, "main"),
        ReservedLine("3", "scarf", 1, "main"),
    )
    assert events == [
        InventoryReleased(order_id="o1", lines=lines, reason="payment_declined"),
        StockReleased(product_id="scarf", order_id="o1", warehouse="main", quantity=3),
        StockReleased(product_id="cap", order_id="o1", warehouse="main", quantity=1),
    ]
    assert shop.levels("scarf") == (10, 0, 10)
    assert shop.levels("cap") == (3, 0, 3)
    assert shop.reservations["o1"].status == "Released"
    shop.assert_rows_are_folds()


def test_releasing_twice_gives_back_once() -> None:
    shop = Shop(scarf=10)
    shop.reserve("o1", ("1", "scarf", 2))
    shop.reserve("o2", ("1", "scarf", 5))
    shop.release("o1", "scarf")

    assert shop.release("o1", "scarf") == []
    assert shop.levels("scarf") == (10, 5, 5)


def test_a_release_without_a_reservation_forbids_a_later_one() -> None:
    shop = Shop(scarf=10)

    released = shop.release("o1", "scarf")
    reserved = shop.reserve("o1", ("1", "scarf", 2))

    assert released == [InventoryReleased(order_id="o1", lines=(), reason="payment_declined")]
    assert reserved == []
    assert shop.levels("scarf") == (10, 0, 10)
    assert shop.reservations["o1"].status == "Released"
    shop.assert_rows_are_folds()


def test_an_order_that_fell_short_has_nothing_to_release_or_commit() -> None:
    shop = Shop(scarf=1)
    shop.reserve("o1", ("1", "scarf", 2))

    assert shop.release("o1", "scarf") == []
    assert shop.commit("o1", "scarf") == []
    assert shop.reservations["o1"].status == "Insufficient"
    assert shop.levels("scarf") == (1, 0, 1)


def test_committing_takes_the_units_out_of_the_warehouse() -> None:
    shop = Shop(scarf=10)
    shop.reserve("o1", ("1", "scarf", 2), ("2", "scarf", 1))

    events = shop.commit("o1", "scarf")

    lines = (ReservedLine("1", "scarf", 2, "main"), ReservedLine("2", "scarf", 1, "main"))
    assert events == [
        InventoryCommitted(order_id="o1", lines=lines),
        StockCommitted(product_id="scarf", order_id="o1", warehouse="main", quantity=3),
    ]
    assert shop.levels("scarf") == (7, 0, 7)
    assert shop.reservations["o1"].status == "Committed"
    shop.assert_rows_are_folds()


def test_what_was_committed_is_neither_released_nor_committed_again() -> None:
    shop = Shop(scarf=10)
    shop.reserve("o1", ("1", "scarf", 2))
    shop.commit("o1", "scarf")

    assert shop.release("o1", "scarf") == []
    assert shop.commit("o1", "scarf") == []
    assert shop.levels("scarf") == (8, 0, 8)
    assert shop.reservations["o1"].status == "Committed"


def test_committing_without_a_reservation_takes_nothing() -> None:
    shop = Shop(scarf=10)

    assert shop.commit("o1", "scarf") == []
    assert shop.levels("scarf") == (10, 0, 10)


STEPS: dict[str, Callable[[Shop, str], object]] = {
    "reserve": lambda shop, order: shop.reserve(order, ("1", "scarf", 3), ("2", "cap", 1)),
    "release": lambda shop, order: shop.release(order, "scarf", "cap"),
    "release again": lambda shop, order: shop.release(order, "scarf", "cap"),
    "commit": lambda shop, order: shop.commit(order, "scarf", "cap"),
    "reserve again": lambda shop, order: shop.reserve(order, ("1", "scarf", 3), ("2", "cap", 1)),
}


@pytest.mark.parametrize("order", list(permutations(STEPS)), ids="-".join)
def test_in_any_interleaving_stock_adds_up_and_is_given_back_once(order: tuple[str, ...]) -> None:
    # given another order whose stock must stay untouched
    shop = Shop(scarf=10, cap=2)
    shop.reserve("other", ("1", "scarf", 4))

    for step in order:
        STEPS[step](shop, "o1")

        mine = shop.reservations.get("o1")
        held = 3 if mine and mine.status == "Reserved" else 0
        assert shop.stock["scarf"].reserved == 4 + held
        assert 0 <= shop.stock["cap"].reserved <= shop.stock["cap"].on_hand
    # then nothing is held: a release came at some time, or the goods left before it
    taken = 3 if shop.reservations["o1"].status == "Committed" else 0
    assert shop.reservations["o1"].status in {"Released", "Committed"}
    assert shop.levels("scarf") == (10 - taken, 4, 6 - taken)
    shop.assert_rows_are_folds()
