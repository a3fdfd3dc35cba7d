"""Stock in a real database: races for the last units, read models, and the invariants."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from ecommerce.messaging import bus
from ecommerce.messaging.bus import execute
from ecommerce.messaging.errors import Conflict, NotFound
from ecommerce.messaging.messages import Message
from inventory import queries
from inventory.contracts import (
    AdjustInventory,
    CommitInventory,
    ReleaseInventory,
    ReserveInventory,
    RestockInventory,
    WantedLine,
)
from inventory.models import Product, Reservation, StockItem

from .conftest import Broken

Create = Callable[..., None]
Deliver = Callable[[], None]
Audit = Callable[[], Broken]
DEADLINE = datetime(2026, 1, 1, tzinfo=UTC)


def run(command: Message, tenant: str = "main") -> None:
    execute(command, tenant=tenant, actor="test")


def reserve(order_id: str, **units: int) -> ReserveInventory:
    lines = tuple(WantedLine(p, p, n) for p, n in units.items())
    return ReserveInventory(order_id=order_id, lines=lines, expires_at=DEADLINE)


def release(order_id: str, *product_ids: str) -> ReleaseInventory:
    return ReleaseInventory(order_id=order_id, product_ids=product_ids, reason="test")


def at_once(commands: Sequence[Message], threads: int) -> None:
    """Run the commands on so many threads that start together."""
    start = Barrier(threads)

    def some(number: int) -> None:
        start.wait(timeout=10)
        for command in commands[number::threads]:
            run(command)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(threads)))


def statuses() -> list[str]:
    return sorted(Reservation.objects.values_list("status", flat=True))


def stock_of(product_id: str, tenant: str = "main") -> tuple[int, int]:
    item = StockItem.objects.get(tenant=tenant, product_id=product_id)
    return item.on_hand, item.reserved


def test_two_hundred_buyers_of_fifty_units_at_once_get_exactly_fifty(
    create: Create, broken: Audit
) -> None:
    create(scarf=50)

    at_once([reserve(f"o{number}", scarf=1) for number in range(200)], threads=8)

    assert statuses() == ["Insufficient"] * 150 + ["Reserved"] * 50
    assert stock_of("scarf") == (50, 50)
    assert broken() == {}


def test_orders_that_name_products_in_opposite_order_do_not_lock_each_other_out(
    create: Create, broken: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "MOST_TRIES", 1)  # a deadlock would be tried again, and not be seen
    create(cap=60, scarf=60)
    there = [reserve(f"a{number}", cap=1, scarf=1) for number in range(40)]
    back = [reserve(f"b{number}", scarf=1, cap=1) for number in range(40)]

    at_once([order for pair in zip(there, back, strict=True) for order in pair], threads=8)

    assert statuses() == ["Insufficient"] * 20 + ["Reserved"] * 60
    assert stock_of("cap") == stock_of("scarf") == (60, 60)
    assert broken() == {}


def test_releases_at_once_give_back_once(create: Create, broken: Audit) -> None:
    create(scarf=10)
    run(reserve("o1", scarf=4))
    run(reserve("o2", scarf=5))

    at_once([release("o1", "scarf")] * 16, threads=8)

    assert stock_of("scarf") == (10, 5)
    assert statuses() == ["Released", "Reserved"]
    assert broken() == {}


def test_a_release_and_its_reservation_at_once_leave_nothing_held(
    create: Create, broken: Audit
) -> None:
    create(scarf=1000)
    pairs = [(reserve(f"o{n}", scarf=2), release(f"o{n}", "scarf")) for n in range(40)]

    at_once([command for pair in pairs for command in pair], threads=8)

    assert statuses() == ["Released"] * 40
    assert stock_of("scarf") == (1000, 0)
    assert broken() == {}


def test_one_product_is_created_once_by_many_at_once(create: Create) -> None:
    start = Barrier(6)

    def try_to(_: int) -> bool:
        start.wait(timeout=10)
        try:
            create(scarf=10)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        created = list(pool.map(try_to, range(6)))

    assert sorted(created) == [False] * 5 + [True]
    assert stock_of("scarf") == (10, 0)


def test_a_refused_adjustment_leaves_no_trace(create: Create, broken: Audit) -> None:
    create(scarf=10)
    run(reserve("o1", scarf=8))

    with pytest.raises(Conflict):
        run(AdjustInventory(product_id="scarf", change=-3, reason="lost"))

    assert stock_of("scarf") == (10, 8)
    assert broken() == {}


def test_an_unknown_product_cannot_be_restocked(create: Create) -> None:
    with pytest.raises(NotFound):
        run(RestockInventory(product_id="ghost", quantity=1))

    assert not StockItem.objects.exists()


def test_two_tenants_sell_their_own_product_of_one_name(
    create: Create, deliver: Deliver, broken: Audit
) -> None:
    create(scarf=10)
    create("other", scarf=3)

    run(reserve("o1", scarf=4))
    run(reserve("o1", scarf=2), tenant="other")
    deliver()

    assert (stock_of("scarf"), stock_of("scarf", "other")) == ((10, 4), (3, 2))
    assert [level.available for level in queries.levels("main")] == [6]
    assert [level.available for level in queries.levels("other")] == [1]
    assert queries.product("third", "scarf") is None
    assert broken() == {}


def test_the_read_models_follow(create: Create, deliver: Deliver, broken: Audit) -> None:
    create(scarf=20, cap=11, jersey=10)
    run(reserve("o1", scarf=5, cap=2))
    run(reserve("o2", scarf=99))
    run(reserve("o3", scarf=1))
    run(release("o3", "scarf"))
    run(CommitInventory(order_id="o1", product_ids=("scarf", "cap")))
    run(AdjustInventory(product_id="cap", change=-1, reason="lost"))
    run(RestockInventory(product_id="jersey", quantity=3))
    deliver()

    levels = [(v.product_id, v.name, v.quantity, v.reserved) for v in queries.levels("main")]
    assert levels == [("cap", "Cap", 8, 0), ("jersey", "Jersey", 13, 0), ("scarf", "Scarf", 15, 0)]
    assert [v.product_id for v in queries.low_stock("main")] == ["cap"]
    assert [v.product_id for v in queries.low_stock("main", 13)] == ["cap", "jersey"]
    scarf = queries.summary("main", "scarf")
    assert scarf is not None
    assert scarf.total_reservations == 2
    assert scarf.total_reserved_quantity == 6
    assert scarf.total_insufficient_count == 1
    assert queries.summary("main", "jersey") is None
    found = queries.product("main", "scarf")
    assert found is not None
    assert found.available == 15  # type: ignore[attr-defined]  # annotated
    assert [p.product_id for p in queries.products("main")] == ["cap", "jersey", "scarf"]
    assert broken() == {}


def test_a_product_that_is_not_for_sale_is_found_by_id_only(create: Create) -> None:
    create(scarf=1, cap=1)
    Product.objects.filter(product_id="cap").update(active=False)

    assert [p.product_id for p in queries.products("main")] == ["scarf"]
    assert queries.product("main", "cap") is not None


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        ({"on_hand": 11}, {"Stock on hand and reserved is the sum of the product's ledger"}),
        (
            {"reserved": 3},
            {
                "Stock on hand and reserved is the sum of the product's ledger",
                "Reserved stock is what the orders' reservations hold",
            },
        ),
    ],
)
def test_the_invariants_notice_stock_that_does_not_add_up(
    create: Create, broken: Audit, spoil: dict[str, int], names: set[str]
) -> None:
    create(scarf=10)
    run(reserve("o1", scarf=4))
    assert broken() == {}

    StockItem.objects.update(**spoil)

    assert broken().keys() == names


def test_the_invariants_notice_a_reservation_without_stock(create: Create, broken: Audit) -> None:
    create(scarf=10)
    run(reserve("o1", scarf=4))

    StockItem.objects.all().delete()

    assert len(broken()) == 2
