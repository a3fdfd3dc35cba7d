"""A snapshot makes folding a long stream cheap, and changes nothing else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.models import Customer
from ecommerce.messaging import snapshots
from ecommerce.messaging.database import connect
from ecommerce.messaging.folds import as_of, changes, fold, fold_differences
from ecommerce.messaging.projections import aggregates
from ecommerce.messaging.snapshots import due, shape_of
from inventory.models import Product, StockItem
from orders.models import Order
from tests.messaging.examples import create_product
from tests.messaging.ledgers import contact, product, put, registered, restocks
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 10)


def stored(columns: str = "version") -> list[tuple[object, ...]]:
    return fetch("inventory", f'SELECT {columns} FROM "{{snapshot}}" ORDER BY version, shape')


def on_hand(version: int | None = None) -> int:
    past = as_of(StockItem, "main", "mouse", version)
    assert past is not None
    return past.row.on_hand


def test_a_fold_leaves_one_at_every_so_many_events() -> None:
    put(product(), *restocks(34))

    assert on_hand() == 34

    (first,) = (version for version in range(1, 11) if due(StockItem, version))
    expected = [(version,) for version in range(first, 36, 10)]
    assert stored() == expected
    assert len(expected) >= 3
    on_hand()
    assert stored() == expected


def test_a_fold_begins_at_the_last_one_before_the_moment() -> None:
    put(product(), *restocks(34))
    on_hand()
    first, second, *_ = (version for (version,) in stored())
    fetch("inventory", """UPDATE {snapshot} SET state = jsonb_set(state::jsonb, '{{on_hand}}',
                          '1000')::text WHERE version = %b RETURNING 1""", second)  # fmt: skip

    assert isinstance(first, int)
    assert isinstance(second, int)
    assert on_hand(second - 1) == second - 2
    assert on_hand(second) == 1000
    assert on_hand(second + 3) == 1003


def test_one_of_another_shape_is_ignored_and_replaced() -> None:
    put(product(), *restocks(34))
    on_hand()
    before = stored("version, shape, state")
    fetch("inventory", """UPDATE {snapshot} SET shape = 'older', state = '{{"gone": 1}}'
                          RETURNING 1""")  # fmt: skip

    assert on_hand() == 34
    assert stored("version, shape, state") == before


def test_the_shape_is_that_of_the_code_the_columns_and_the_contracts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with isolate_apps("inventory"):

        class Changed(StockItem):
            class Meta:
                app_label, proxy = "inventory", True

            def apply(self, event: object) -> None:
                """Something else."""

    shape = shape_of(StockItem)
    assert shape_of(Changed) != shape
    shape_of.cache_clear()
    assert shape_of(StockItem) == shape

    released = snapshots._events(StockItem)
    monkeypatch.setattr(snapshots, "_events", lambda model: released[1:])
    shape_of.cache_clear()
    assert shape_of(StockItem) != shape
    shape_of.cache_clear()


def test_aggregates_that_share_a_stream_keep_theirs_at_versions_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    for one, other in combinations(aggregates(), 2):
        if (one._meta.app_label, one.category()) == (other._meta.app_label, other.category()):
            assert not any(due(one, v) and due(other, v) for v in range(snapshots.EVERY))


@given(count=st.integers(0, 60), version=st.integers(1, 61), every=st.integers(1, 25))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_fold_with_them_is_the_fold_without_them(
    count: int, version: int, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY", every)
    key = f"{count}-{version}-{every}-{threading.get_ident()}"
    fetch("inventory", 'DELETE FROM "{snapshot}" RETURNING 1')
    if not fetch("inventory", "SELECT FROM {log} WHERE stream = %b", f"product/{key}"):
        put(product(key), *restocks(count, key))

    for model in (StockItem, Product):
        for moment in (None, version, None):
            past = as_of(model, "main", key, moment)
            with connect("default") as conn:
                upto = moment or count + 1
                stream = ("main", f"product/{key}")
                plain = fold(conn, model, [stream], upto=upto, from_snapshots=False)
            assert (past is None) == (upto > count + 1)
            assert past is None or changes(past.row, plain.rows[stream]) == {}


def test_a_person_leaves_nothing_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 1)
    put(registered(), *[contact(f"name-{number}") for number in range(20)])

    past = as_of(Customer, "main", "ada")

    assert past is not None
    assert past.row.name == "name-19"
    assert fetch("customers", 'SELECT count(*) FROM "{snapshot}"') == [(0,)]
    assert [snapshots.possible(model) for model in (Customer, Order, StockItem)] == [
        False,
        False,
        True,
    ]


def test_the_check_of_folds_leaves_them_and_can_do_without() -> None:
    create_product("mouse", 5)
    put(*restocks(34), expected=2)
    StockItem.objects.update(on_hand=39)

    assert fold_differences(StockItem, from_snapshots=False) == []
    assert len(stored()) >= 3
    fetch("inventory", """UPDATE {snapshot} SET state = jsonb_set(state::jsonb, '{{on_hand}}',
                          '0')::text RETURNING 1""")  # fmt: skip

    assert len(fold_differences(StockItem)) == 1
    assert fold_differences(StockItem, from_snapshots=False) == []


def test_many_may_leave_the_same_at_once() -> None:
    put(product(), *restocks(40))
    together = threading.Barrier(8)

    def travel(_: int) -> int:
        together.wait()
        return on_hand()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(travel, range(8))) == [40] * 8
    assert len(stored()) == len({version for (version,) in stored()}) == 4
