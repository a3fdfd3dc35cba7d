"""An aggregate as it was at any version and any instant is the fold of the events up to there."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.models import Customer
from ecommerce.messaging import snapshots
from ecommerce.messaging.errors import ContractError
from ecommerce.messaging.events import read_stream
from ecommerce.messaging.folds import Past, as_of, changes, fold_differences
from ecommerce.messaging.messages import Message
from inventory.contracts import InventoryRestocked, StockCommitted, StockReleased, StockReserved
from inventory.models import Product, StockItem
from orders.models import Order
from tests.messaging.ledgers import (
    Move,
    contact,
    move,
    product,
    put,
    put_one_by_one,
    registered,
    restocks,
)
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

KINDS: list[type[Move]] = [StockReserved, StockReleased, StockCommitted, InventoryRestocked]
MOVES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 9)), max_size=12)
ids = count()


def folded(events: list[Message]) -> StockItem:
    row = StockItem(tenant="main")
    for event in events:
        row.apply(event)
    return row


def state(past: Past[StockItem] | None) -> tuple[int, int]:
    assert past is not None
    return past.row.on_hand, past.row.reserved


@given(moves=MOVES, every=st.sampled_from([1, 3, 1000]))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_at_every_version_and_instant_it_is_the_fold_of_what_had_happened(
    moves: list[tuple[type[Move], int]], every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY", every)
    key = f"product-{next(ids)}"
    events: list[Message] = [product(key), *(move(*each, key) for each in moves)]
    put_one_by_one(events)
    stored = list(read_stream("inventory", "main", f"product/{key}"))

    for version, event in enumerate(stored, 1):
        expected = folded(events[:version])
        for moment in (version, event.recorded_at):
            past = as_of(StockItem, "main", key, moment)
            assert past is not None
            assert changes(past.row, expected) == {}
            assert (past.version, past.recorded_at) == (version, event.recorded_at)
        before = as_of(StockItem, "main", key, event.recorded_at - timedelta(microseconds=1))
        assert (before.version if before else 0) == version - 1

    now = as_of(StockItem, "main", key)
    assert now is not None
    assert changes(now.row, folded(events)) == {}


def test_what_did_not_exist_yet_or_never_is_nothing() -> None:
    put_one_by_one([product(), *restocks(2)])
    (first, *_) = read_stream("inventory", "main", "product/mouse")

    assert as_of(StockItem, "main", "mouse", first.recorded_at - timedelta(seconds=1)) is None
    assert as_of(StockItem, "main", "mouse", 0) is None
    assert as_of(StockItem, "main", "mouse", 4) is None
    assert as_of(StockItem, "main", "keyboard") is None
    assert as_of(StockItem, "other", "mouse") is None


def test_a_later_instant_shows_it_as_it_is() -> None:
    put(product(), *restocks(2))
    (*_, last) = read_stream("inventory", "main", "product/mouse")

    past = as_of(StockItem, "main", "mouse", last.recorded_at + timedelta(days=1))

    assert past is not None
    assert (past.version, past.row.on_hand) == (3, 2)


def test_an_event_of_another_aggregate_does_not_make_it_exist() -> None:
    put(*restocks(1))

    assert as_of(StockItem, "main", "mouse") is None


def test_events_whose_times_run_backwards_are_taken_up_to_the_last_of_them() -> None:
    put(product(), *restocks(3))
    change = "INSERT INTO {log} SELECT (jsonb_populate_record(l, jsonb_build_object("
    change += "'position', position + 100, 'version', 5, 'recorded_at', recorded_at - interval "
    change += "'1 hour'))).* FROM {log} l WHERE version = 4 RETURNING recorded_at"
    ((early,),) = fetch("inventory", change)

    past = as_of(StockItem, "main", "mouse", early)

    assert past is not None
    assert (past.version, past.row.on_hand) == (5, 4)


def test_an_order_can_be_seen_at_every_step() -> None:
    open_shop()
    place("one")
    settle()

    seen = [as_of(Order, "main", "one", version) for version in range(1, 5)]

    assert [past.row.status for past in seen if past] == ["Pending", "Reserved", "Paid", "Shipped"]
    assert seen[0] is not None
    assert seen[3] is not None
    assert set(changes(seen[0].row, seen[3].row)) == {
        "status",
        "payment_id",
        "shipment_id",
        "tracking_number",
    }


def test_without_personal_data_it_is_as_if_its_person_had_been_forgotten() -> None:
    put(registered(), contact("Ada"))

    seen = as_of(Customer, "main", "ada")
    kept_back = as_of(Customer, "main", "ada", personal=False)
    fetch("customers", "UPDATE {log} SET personal = NULL RETURNING 1")
    forgotten = as_of(Customer, "main", "ada")

    assert seen is not None
    assert kept_back is not None
    assert forgotten is not None
    assert (seen.row.name, seen.row.email) == ("Ada", "Ada@example.com")
    assert (kept_back.row.name, kept_back.row.email, kept_back.row.guest) == ("", "", False)
    assert changes(kept_back.row, forgotten.row) == {}


def test_aggregates_of_one_stream_are_seen_apart() -> None:
    put(product(), *restocks(2))

    item, catalogue = as_of(StockItem, "main", "mouse", 2), as_of(Product, "main", "mouse", 2)

    assert item is not None
    assert catalogue is not None
    assert (item.row.on_hand, catalogue.row.name) == (1, "Mouse")


def test_an_event_that_cannot_be_read_is_an_error_and_leaves_the_connection_usable() -> None:
    put(product(), *restocks(30))
    change = """INSERT INTO {log} SELECT (jsonb_populate_record(l, jsonb_build_object('position',
                nextval('inventory_log_position_seq'), 'version', 32, 'contract', 9))).*
                FROM {log} l WHERE version = 2 RETURNING 1"""
    fetch("inventory", change)

    for _ in range(3):
        with pytest.raises(ContractError, match="version 9 has no reader"):
            as_of(StockItem, "main", "mouse")
    with pytest.raises(ContractError, match="version 9 has no reader"):
        fold_differences(StockItem)
    assert as_of(StockItem, "main", "mouse", 31) is not None
