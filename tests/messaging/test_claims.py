"""A look for due intents begins where the last one found nothing, and misses none by that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from ecommerce.messaging import claims
from ecommerce.messaging.claims import Since, waiting
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.services import service
from tests.messaging.calls import Caller, intend
from tests.messaging.conftest import Clock
from tests.messaging.steps import counts, until

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO, NEVER = timedelta(minutes=5), timedelta(0)


@pytest.fixture
def worker(caller: Callable[..., Caller]) -> Caller:
    return caller("one", label="notifications")


def entries_read(conn: Connection) -> int:
    """How many entries of the index by due time this connection's looks have come by."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    (read,) = conn.execute(
        "SELECT pg_stat_get_tuples_returned('notifications_effect_due'::regclass)"
    ).fetchone() or (0,)
    return int(read)


def left() -> int:
    return counts("notifications")["effect"]


def performed_beside_a_late_one(worker: Caller) -> int:
    """How many intents are left when one was written before others were claimed, and then committed."""
    with connect("default") as conn:
        with conn.transaction():
            intend("late", within=conn)
            intend("ada", "ben", "cleo")
            while left():
                worker.perform()
        worker.perform()
    return left()


def test_an_intent_that_is_committed_late_is_performed(
    worker: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecommerce.messaging.effects.LATE", LONG_AGO)

    assert performed_beside_a_late_one(worker) == 0


def test_control_without_a_margin_it_is_missed_until_all_are_looked_through(
    worker: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecommerce.messaging.effects.LATE", NEVER)
    assert performed_beside_a_late_one(worker) == 1

    worker.effects.since = Since()

    worker.perform()
    assert left() == 0


def test_what_was_put_off_is_performed_when_it_is_due(worker: Caller, clock: Clock) -> None:
    intend("down")
    worker.perform()
    intend("ada")
    worker.perform()
    assert left() == 1

    clock.advance(3600)

    assert worker.perform() == 1


def test_all_partitions_have_their_turn_when_more_is_due_than_can_be_started(
    worker: Caller,
) -> None:
    intend(*(f"name-{number}" for number in range(200)))

    until(lambda: worker.perform() == 0)

    assert left() == 0


def test_beside_an_old_snapshot_a_look_does_not_wade_through_what_was_deleted(
    worker: Caller, connection: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LATE", NEVER)
    reader, conn = connection(), connection()
    reader.execute("SET idle_in_transaction_session_timeout = 0")
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute("SELECT pg_current_snapshot()")
    intend(*(f"name-{number}" for number in range(200)))
    while left():
        worker.perform()
    asked = [(service("notifications").tables, Since())]

    read = []
    for _ in range(2):
        before = entries_read(conn)
        assert waiting(conn, asked) == [False]
        read.append(entries_read(conn) - before)

    assert read[0] >= 200
    assert read[1] == 0
