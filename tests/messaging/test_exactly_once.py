"""Whatever workers and copies do, a message has its effect once.

Each guard has a control: the same steps with the guard switched off show what it prevents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
import pytest
from psycopg import OperationalError

from ecommerce.messaging import drain, transactions
from ecommerce.messaging.database import Connection
from ecommerce.messaging.errors import Fenced
from ecommerce.messaging.registry import handles
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.rows import Statement
from ecommerce.messaging.services import service
from inventory.contracts import AdjustInventory, InventoryRestocked
from tests.messaging.conftest import Clock
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import restocked
from tests.messaging.steps import (
    Altered,
    Puppet,
    counts,
    fetch,
    in_service,
    replaced_function,
    until,
    without_constraint,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

LEASE = 10
NO_FENCE = """
    CREATE OR REPLACE FUNCTION messaging_require(held boolean, what text)
    RETURNS void LANGUAGE plpgsql AS 'BEGIN END'"""


class Note:
    """The handler `analytics.note`: what happens while it runs is up to the test."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] | None = None
        self.rows_of_heir: dict[str, int] = {}

        @handles(retry=(30,))
        @in_service("analytics")
        def note(event: InventoryRestocked) -> AdjustInventory:
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile:
                meanwhile()
            return AdjustInventory(
                product_id=event.product_id, change=event.quantity, reason="noted"
            )

    @property
    def effects(self) -> list[int]:
        return [m.change for m in written("analytics") if isinstance(m, AdjustInventory)]


@pytest.fixture
def note() -> Note:
    return Note()


# A lost lease


def taken_over_at_work(note: Note, late: Puppet, heir: Puppet, clock: Clock) -> None:
    """While `late` works, its lease runs out, and `heir` does the same work."""

    def take_over() -> None:
        clock.advance(LEASE + 1)
        heir.work()
        note.rows_of_heir = counts("analytics")

    note.meanwhile = take_over
    write("inventory", restocked("a", 1), restocked("b", 2))
    late.work()


def test_a_worker_that_wakes_after_it_lost_its_lease_writes_nothing(
    note: Note, puppet: Callable[..., Puppet], clock: Clock
) -> None:
    late, heir = puppet("analytics", "late"), puppet("analytics", "heir")

    with pytest.raises(Fenced, match="late lost its partitions of analytics"):
        taken_over_at_work(note, late, heir, clock)

    assert note.effects == [1, 2]
    assert counts("analytics") == note.rows_of_heir
    assert fetch("analytics", 'SELECT DISTINCT worker FROM "{delivery}"') == [("heir",)]
    assert late.held == set()


def test_control_without_the_fence_the_effect_is_doubled(
    note: Note, puppet: Callable[..., Puppet], clock: Clock, connection: Callable[[], Connection]
) -> None:
    late, heir = puppet("analytics", "late"), puppet("analytics", "heir")

    with replaced_function(connection(), "messaging_require", NO_FENCE):
        taken_over_at_work(note, late, heir, clock)

    assert note.effects == [1, 2, 1, 2]


def test_a_lease_that_ran_out_is_lost_even_when_nobody_took_it(
    note: Note, puppet: Callable[..., Puppet], clock: Clock
) -> None:
    worker = puppet("analytics")
    note.meanwhile = lambda: clock.advance(LEASE + 1)
    write("inventory", restocked("a", 1))

    with pytest.raises(Fenced):
        worker.work()
    assert note.effects == []

    worker.work()
    assert note.effects == [1]


def test_a_worker_that_is_fenced_works_on_with_new_leases(
    note: Note, puppet: Callable[..., Puppet], clock: Clock
) -> None:
    late, heir = puppet("analytics", "late"), puppet("analytics", "heir")
    with pytest.raises(Fenced):
        taken_over_at_work(note, late, heir, clock)

    write("inventory", *(restocked(f"p{number}", number) for number in range(10, 20)))
    for worker in (late, heir, late):
        worker.hold()
    for worker in (late, heir):
        worker.work()

    assert sorted(note.effects) == [1, 2, *range(10, 20)]
    assert len(late.held) == len(heir.held) == 32


def lost_in_its_commit(note: Note, worker: Puppet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit takes place, but the connection is lost before the worker hears of it."""

    def commit_and_lose(conn: Connection, *statements: Sequence[Statement]) -> None:
        transactions.commit(conn, *statements)
        conn.close()
        raise OperationalError("the connection was lost")

    write("inventory", restocked("a", 1))
    with monkeypatch.context() as patch:
        patch.setattr(drain, "commit", commit_and_lose)
        with pytest.raises(OperationalError):
            worker.work()
    worker.reconnect()


def test_a_commit_of_which_nobody_heard_is_not_repeated(
    note: Note, puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = puppet("analytics")
    lost_in_its_commit(note, worker, monkeypatch)
    write("inventory", restocked("b", 2))
    worker.work()

    assert note.effects == [1, 2]


def test_control_with_the_positions_in_memory_it_is(
    note: Note, puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = puppet("analytics")
    lost_in_its_commit(note, worker, monkeypatch)
    worker.drain.leases.certain = True
    worker.work()

    assert note.effects == [1, 1]


def dies_before_it_completes(
    worker: Puppet, monkeypatch: pytest.MonkeyPatch, *, apart: bool
) -> None:
    """The worker dies when it has stored what it did, and before it stores how far it has come;
    with a COMMIT in between if these are apart."""

    def store_and_die(
        conn: Connection, statements: Sequence[Statement], appends: Sequence[Statement]
    ) -> None:
        for statement in (*statements, *appends):
            if "messaging_require" not in statement[0]:
                conn.execute(*statement)
        if apart:
            conn.execute("COMMIT")
        conn.close()
        raise OperationalError("the worker died")

    write("inventory", restocked("a", 1))
    with monkeypatch.context() as patch:
        patch.setattr(drain, "commit", store_and_die)
        with pytest.raises(OperationalError):
            worker.work()
    worker.reconnect()
    worker.work()


def test_what_a_worker_did_and_how_far_it_came_are_one_transaction(
    note: Note, puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_before_it_completes(puppet("analytics"), monkeypatch, apart=False)

    assert note.effects == [1]


def test_control_in_two_transactions_the_effect_is_doubled(
    note: Note, puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_before_it_completes(puppet("analytics"), monkeypatch, apart=True)

    assert note.effects == [1, 1]


def test_a_retry_is_fenced_too(note: Note, puppet: Callable[..., Puppet], clock: Clock) -> None:
    late, heir = puppet("analytics", "late"), puppet("analytics", "heir")

    def fail() -> None:
        raise ValueError

    def take_over() -> None:
        clock.advance(LEASE + 1)
        heir.work()
        heir.retry()

    note.meanwhile = fail
    write("inventory", restocked("a", 1))
    late.work()
    clock.advance(30)
    late.work()
    note.meanwhile = take_over

    with pytest.raises(Fenced):
        late.retry()

    assert note.effects == [1]
    assert fetch("analytics", 'SELECT count(*) FROM "{parked}"') == [(0,)]


# A message that is copied more than once


@pytest.fixture
def abroad(note: Note, elsewhere: Elsewhere, puppet: Callable[..., Puppet]) -> Puppet:
    """A worker of `analytics`, which lives in another database than `inventory`."""
    elsewhere.move("analytics")
    return puppet("analytics")


def copied_twice(source: Connection, worker: Puppet, target: Connection) -> None:
    """Copy a message, forget how far the copying came, and copy it again."""
    names = worker.drain.names["inbox"]
    relay = Relay(service("inventory"), worker.service, source, target, names)
    write("inventory", restocked("a", 1))
    relay.copy()
    worker.conn.execute("UPDATE analytics_relay SET position = 0")
    relay.copy()
    worker.work()


def test_a_message_that_is_copied_twice_has_one_effect(
    note: Note, abroad: Puppet, connection: Callable[[], Connection]
) -> None:
    copied_twice(connection(), abroad, abroad.conn)
    assert note.effects == [1]


def test_control_without_the_dedupe_the_constraint_refuses_the_copy(
    note: Note, abroad: Puppet, connection: Callable[[], Connection]
) -> None:
    careless = Altered(abroad.conn, {"ON CONFLICT (message_id) DO NOTHING": ""})
    with pytest.raises(psycopg.errors.UniqueViolation, match="analytics_received_once"):
        copied_twice(connection(), abroad, careless)  # type: ignore[arg-type]


def test_control_without_the_constraint_the_effect_is_doubled(
    note: Note, abroad: Puppet, connection: Callable[[], Connection]
) -> None:
    careless = Altered(abroad.conn, {"ON CONFLICT (message_id) DO NOTHING": ""})
    with without_constraint(abroad.conn, "analytics_inbox", "analytics_received_once"):
        copied_twice(connection(), abroad, careless)  # type: ignore[arg-type]
        assert note.effects == [1, 1]


def test_one_worker_copies_at_a_time_and_its_end_lets_the_next_go_on(
    abroad: Puppet, puppet: Callable[..., Puppet], connection: Callable[[], Connection]
) -> None:
    other = puppet("analytics")
    names = abroad.drain.names["inbox"]
    relay = Relay(service("inventory"), abroad.service, connection(), abroad.conn, names)
    assert relay.copy() == 0
    write("inventory", restocked("a", 1), restocked("a", 2))

    other.conn.execute("BEGIN")
    other.conn.execute("SELECT FROM analytics_relay FOR UPDATE")
    assert relay.copy() == 0
    other.conn.close()

    assert until(relay.copy) == 2
    assert relay.copy() == 0
