"""A busy tenant or stream does not stand before the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce.messaging import batches
from ecommerce.messaging.messages import partition_of
from ecommerce.messaging.registry import handles
from inventory.contracts import AdjustInventory, InventoryRestocked
from tests.messaging.examples import restocked
from tests.messaging.steps import Puppet, in_service, write, written

pytestmark = pytest.mark.django_db(transaction=True)

QUIET = [f"quiet-{number}" for number in range(20)]
PIECE = 50
"""Messages in a full read."""
STEPS = 8


@pytest.fixture(autouse=True)
def _noted() -> None:
    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> AdjustInventory:
        return AdjustInventory(product_id=event.product_id, change=1, reason="noted")


def noted() -> list[str]:
    return [m.product_id for m in written("analytics") if isinstance(m, AdjustInventory)]


def backlog(*busy: InventoryRestocked) -> None:
    """A busy tenant's messages, and behind them two of each of twenty others."""
    write("inventory", *busy, tenant="busy")
    others()


def others() -> None:
    for tenant in QUIET:
        for number in range(2):
            write("inventory", restocked(f"{tenant}/{number}", 1), tenant=tenant)


def served(worker: Puppet) -> int:
    """How many of the quiet tenants' messages are handled after some full reads."""
    worker.hold()
    for _ in range(STEPS):
        worker.step(limit=PIECE)
    return sum(product.startswith("quiet") for product in noted())


def in_the_way(*busy: InventoryRestocked) -> int:
    """How many of the quiet tenants' messages share a partition with the busy one's."""
    taken = {partition_of("busy", f"product/{event.product_id}", 64) for event in busy}
    return sum(
        partition_of(tenant, f"product/{tenant}/{number}", 64) in taken
        for tenant in QUIET
        for number in range(2)
    )


def test_a_busy_tenant_delays_few_of_the_others(puppet: Callable[..., Puppet]) -> None:
    busy = [restocked(f"busy-{number}", 1) for number in range(20 * PIECE)]
    backlog(*busy)

    assert served(puppet("analytics")) >= 2 * len(QUIET) - in_the_way(*busy)
    assert in_the_way(*busy) < len(QUIET)


def test_a_busy_stream_delays_nobody_else(puppet: Callable[..., Puppet]) -> None:
    busy = [restocked("bestseller", number) for number in range(20 * PIECE)]
    backlog(*busy)

    assert served(puppet("analytics")) >= 2 * len(QUIET) - in_the_way(*busy)


def test_a_tenant_that_is_alone_does_not_lag(puppet: Callable[..., Puppet]) -> None:
    write("inventory", *(restocked(f"busy-{n}", 1) for n in range(4 * PIECE)), tenant="busy")
    worker = puppet("analytics")
    worker.hold()

    for _ in range(4):
        worker.step(limit=PIECE)
        assert not worker.drain.leases.lagging
    assert len(noted()) == 4 * PIECE


def test_a_busy_tenant_lags_as_soon_as_others_come(puppet: Callable[..., Puppet]) -> None:
    busy = [restocked(f"busy-{n}", 1) for n in range(20 * PIECE)]
    write("inventory", *busy, tenant="busy")
    worker = puppet("analytics")
    worker.hold()
    worker.step(limit=PIECE)
    others()

    assert served(worker) >= 2 * len(QUIET) - in_the_way(*busy)


def test_tenants_with_as_much_to_do_do_not_lag(puppet: Callable[..., Puppet]) -> None:
    for number in range(4 * PIECE):
        write("inventory", restocked(f"{number}", 1), tenant=QUIET[number % len(QUIET)])
    worker = puppet("analytics")
    worker.hold()

    worker.step(limit=PIECE)
    assert not worker.drain.leases.lagging


def test_control_in_one_queue_everybody_waits(
    puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_apart", lambda *_: (set(), frozenset()))
    backlog(*(restocked(f"busy-{number}", 1) for number in range(20 * PIECE)))

    assert served(puppet("analytics")) == 0


def test_what_lags_keeps_its_order_and_catches_up(puppet: Callable[..., Puppet]) -> None:
    seen: list[int] = []

    @handles
    @in_service("analytics")
    def watch(event: InventoryRestocked) -> None:
        if event.product_id == "bestseller":
            seen.append(event.quantity)

    backlog(*(restocked("bestseller", number) for number in range(1, 6 * PIECE)))
    worker = puppet("analytics")
    worker.hold()
    worker.step(limit=PIECE)
    assert worker.drain.leases.lagging
    worker.work(limit=PIECE)

    assert seen == list(range(1, 6 * PIECE))
    assert not worker.drain.leases.lagging
    assert len(noted()) == 6 * PIECE - 1 + 2 * len(QUIET)


def test_a_tenants_streams_are_spread_over_few_partitions() -> None:
    def used(tenant: str) -> set[int]:
        return {partition_of(tenant, f"order/{number}", 64) for number in range(500)}

    assert len(used("main")) == 8
    assert {number // 8 for number in used("main")} == set(range(8))
    assert len({frozenset(used(tenant)) for tenant in QUIET}) == len(QUIET)
