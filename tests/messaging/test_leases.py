"""Workers share a service's partitions evenly; nobody loses one that they still work at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ecommerce.messaging import lane, upkeep
from ecommerce.messaging import worker as worker_module
from ecommerce.messaging.database import Connection
from ecommerce.messaging.leases import (
    FORGET_WORKER_SECONDS,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    Reached,
)
from ecommerce.messaging.services import service
from ecommerce.messaging.worker import Worker, worker_name
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.steps import Altered, Puppet, fetch, until, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ALL = set(range(64))


def owners() -> dict[int, str | None]:
    return dict(fetch("analytics", 'SELECT number, owner FROM "{partition}"'))


def column(name: str) -> list[Any]:
    rows = fetch("analytics", f'SELECT {name} FROM "{{partition}}" ORDER BY number')
    return [value for (value,) in rows]


def moves() -> int:
    """How often a partition has been taken, ever."""
    return sum(column("token"))


def settle(*workers: Puppet) -> list[int]:
    """Let all workers beat a few times; return how many partitions each holds then."""
    for _ in range(3):
        for worker in workers:
            worker.hold()
    before = owners()
    for worker in workers:
        worker.hold()
    assert owners() == before
    assert set().union(*(worker.held for worker in workers)) == ALL
    assert sum(len(worker.held) for worker in workers) == 64
    return [len(worker.held) for worker in workers]


def test_workers_share_evenly_as_they_come_and_go_with_few_moves(
    puppet: Callable[..., Puppet],
) -> None:
    one, two, three = puppet("analytics"), puppet("analytics"), puppet("analytics")

    assert settle(one) == [64]
    assert moves() == 64
    assert settle(one, two) == [32, 32]
    assert moves() == 64 + 32
    assert sorted(settle(one, two, three)) == [20, 22, 22]
    assert moves() == 64 + 32 + 20
    two.release()
    assert settle(one, three) == [32, 32]
    assert moves() == 64 + 32 + 20 + 22


def test_nobody_is_robbed_while_alive(puppet: Callable[..., Puppet], clock: Clock) -> None:
    one, two = puppet("analytics"), puppet("analytics")
    settle(one)

    for _ in range(3):
        two.hold()
        clock.advance(HEARTBEAT_SECONDS)

    assert two.held == set()
    assert set(owners().values()) == {"worker-1"}


def test_a_worker_gives_back_before_another_one_takes(puppet: Callable[..., Puppet]) -> None:
    one, two = puppet("analytics"), puppet("analytics")
    one.hold()
    two.hold()

    one.hold()

    assert (one.held, two.held) == (set(range(32)), set())
    assert [owner for owner in owners().values() if owner] == ["worker-1"] * 32
    assert two.hold() == set(range(32, 64))


def test_the_leases_of_a_silent_worker_are_taken_over_and_counted(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    silent, heir = puppet("analytics"), puppet("analytics")
    settle(silent)

    clock.advance(LEASE_SECONDS - 1)
    assert heir.hold() == set()
    clock.advance(2)

    assert heir.hold() == ALL
    assert column("takeovers") == [1] * 64
    assert not heir.drain.leases.careful


def test_control_without_an_expiry_nobody_is_ever_given_the_work(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    silent, heir = puppet("analytics"), puppet("analytics")
    settle(silent)
    clock.advance(100 * LEASE_SECONDS)
    found = heir.conn
    heir.conn = Altered(found, {"OR expires_at <= messaging_now()": ""})  # type: ignore[assignment]

    assert heir.hold() == set()
    heir.conn = found
    assert heir.hold() == ALL


def test_care_begins_when_two_holders_in_a_row_were_lost(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    for _ in range(2):
        settle(puppet("analytics"))
        clock.advance(LEASE_SECONDS + 1)

    third = puppet("analytics")
    third.hold()

    assert column("takeovers") == [2] * 64
    assert third.drain.leases.careful


def test_leases_that_were_given_back_are_no_takeovers(puppet: Callable[..., Puppet]) -> None:
    one, two = puppet("analytics"), puppet("analytics")
    settle(one)
    one.release()

    assert two.hold() == ALL
    assert column("takeovers") == [0] * 64
    assert not two.drain.leases.careful
    sharing = 'SELECT name FROM "{worker}" WHERE NOT signed_off'
    assert fetch("analytics", sharing) == [("worker-2",)]


def test_a_beat_renews_and_what_ran_out_is_not_renewed(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    one, two = puppet("analytics"), puppet("analytics")
    settle(one)
    for _ in range(5):
        clock.advance(LEASE_SECONDS - 1)
        assert one.hold() == ALL
    assert moves() == 64

    clock.advance(LEASE_SECONDS + 1)
    two.hold()
    one.hold()
    assert one.held == set()


def test_a_takeover_changes_the_token_so_the_old_owner_cannot_renew(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    old, new = puppet("analytics", "same-name"), puppet("analytics", "same-name")
    settle(old)

    assert new.hold() == set()
    clock.advance(LEASE_SECONDS + 1)
    assert new.hold() == ALL
    old.hold()

    assert old.held == set()
    assert column("token") == [2] * 64
    assert column("takeovers") == [1] * 64


def test_a_name_is_never_used_by_two_process_starts() -> None:
    assert len({worker_name() for _ in range(100)}) == 100


def test_workers_that_left_or_died_are_forgotten_after_a_minute(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    left, dead, alive = puppet("analytics"), puppet("analytics"), puppet("analytics")
    settle(left, dead, alive)
    left.release()

    def kept_after(seconds: float) -> set[str]:
        clock.advance(seconds)
        alive.hold()
        upkeep.begin_and_forget(alive.conn, [service("analytics")])
        return {name for (name,) in fetch("analytics", 'SELECT name FROM "{worker}"')}

    assert kept_after(FORGET_WORKER_SECONDS - 1) == {"worker-1", "worker-2", "worker-3"}
    assert kept_after(2) == {"worker-3"}


def test_however_many_die_one_after_another_the_next_forgets_them(
    puppet: Callable[..., Puppet], clock: Clock
) -> None:
    for _ in range(5):
        puppet("analytics").hold()
        clock.advance(FORGET_WORKER_SECONDS + 1)
        begun = lane.Lane("default", [service("analytics")], "next", {})
        begun.step()
        begun.disconnect()

        assert fetch("analytics", 'SELECT name FROM "{worker}"') == [("next",)]


def test_positions_move_with_the_partition(puppet: Callable[..., Puppet], clock: Clock) -> None:
    one, two = puppet("analytics"), puppet("analytics")
    settle(one)
    with one.conn.transaction():
        for statement in one.drain.leases.complete(Reached({"inventory": 77}), ALL):
            one.conn.execute(*statement)
    clock.advance(LEASE_SECONDS + 1)
    two.hold()

    assert two.drain.leases.after("inventory", 64, ALL) == [77] * 64
    assert two.drain.leases.after("orders", 64, ALL) == [0] * 64


def test_a_position_moves_only_forward(puppet: Callable[..., Puppet]) -> None:
    worker = puppet("analytics")
    settle(worker)
    leases = worker.drain.leases

    for position in (77, 5):
        reached = Reached({"inventory": position})
        with worker.conn.transaction():
            for statement in leases.complete(reached, ALL):
                worker.conn.execute(*statement)
        leases.advance(reached)

    assert leases.after("inventory", 64, ALL) == [77] * 64
    assert column("positions") == [{"inventory": 77}] * 64


def test_the_heartbeat_keeps_the_leases_while_a_batch_takes_long(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, puppet: Callable[..., Puppet]
) -> None:
    for module in (worker_module, lane):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    busy, other = Worker(["analytics"]), puppet("analytics")
    busy.lanes[0].drains[0].leases.hold(other.conn)
    heart = threading.Thread(target=busy._beat)
    heart.start()
    try:
        for _ in range(3):
            clock.advance(LEASE_SECONDS - 1)
            until(lambda: all(column("expires_at > messaging_now() + interval '8 seconds'")))
        assert other.hold() == set()
    finally:
        busy.stop()
        heart.join()

    assert set(owners().values()) == {busy.name}


# How often


class Passes:
    """The passes of a worker over two services, each so long after the one before."""

    def __init__(self, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        monkeypatch.setattr(lane, "time", SimpleNamespace(monotonic=lambda: self._now))
        self._conn = Altered(conn, {"SET expires_at": "SET expires_at"})

    def renewals(self, count: int, seconds: float) -> int:
        """How many statements renew leases in so many passes, all of which have work."""
        pair = [service("analytics"), service("inventory")]
        made = lane.Lane("default", pair, "worker", {})
        made._conns["default"] = self._conn  # type: ignore[assignment]
        for number in range(count):
            write("inventory", restocked("p", number))
            assert made.step() > 0
            self._now += seconds
        return self._conn.altered


@pytest.fixture
def passes(connection: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(connection(), monkeypatch)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1), (0.25, 4), (60.0, 48)])
def test_leases_are_renewed_by_the_clock_and_not_with_each_pass(
    passes: Passes, seconds: float, expected: int
) -> None:
    assert passes.renewals(48, seconds) == expected


def test_control_without_the_clock_each_pass_renews(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HEARTBEAT_SECONDS", 0.0)

    assert passes.renewals(48, 0.25) == 48
