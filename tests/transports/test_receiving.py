"""What receiving costs, and what becomes of a batch whose receiver has no database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from django.db import connections
from psycopg import sql

from ecommerce.messaging import database, sender, tasks, transports
from ecommerce.messaging.database import connect, connection
from tests.messaging.steps import Counting
from tests.transports.carrier import Carrier, Task
from tests.transports.shop import arrived, confirmed, create, reached

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NAMES = [f"p{number:03}" for number in range(300)]


# What it costs


@pytest.fixture
def receivers(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    """The connections of all who have received something."""
    found: list[Counting] = []

    @contextmanager
    def counted(alias: str) -> Iterator[Counting]:
        with connection(alias) as conn:
            found.append(Counting(conn))
            yield found[-1]

    monkeypatch.setattr(transports, "connection", counted)
    return found


@pytest.mark.parametrize("messages", [1, 10, 300])
def test_receiving_is_three_statements_and_a_receipt_however_many_come(
    carrier: Carrier, receivers: list[Counting], messages: int
) -> None:
    create(*NAMES[:messages])

    (batch,) = carrier.send()
    batch.run()
    _, receipt = carrier.waiting

    assert arrived() == NAMES[:messages]
    assert receipt.name == transports.CONFIRM
    assert [conn.round_trips for conn in receivers] == [3]  # cursor, its lock, messages


def test_control_one_by_one_each_message_costs_as_much(
    carrier: Carrier, receivers: list[Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH", 1)
    create(*NAMES[:10])

    carrier.settle()

    assert arrived() == NAMES[:10]
    assert [conn.round_trips for conn in receivers].count(3) == 10


# While a database is away


@contextmanager
def away(alias: str) -> Iterator[None]:
    """Nobody gets a new connection to this database."""
    (other,) = {"default", "elsewhere"} - {alias}
    name = sql.Identifier(str(connections[alias].settings_dict["NAME"]))
    with connect(other) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        database.close_pools()
        try:
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
            database.close_pools()


def carry_out(carrier: Carrier, sent: Sequence[Task]) -> None:
    """As a Celery worker does, where no failure leaves a task."""
    for task in sent:
        carrier.waiting.clear()
        {transports.RECEIVE: tasks.receive, transports.CONFIRM: tasks.confirm}[task.name](task.body)
        carry_out(carrier, carrier.waiting[:])


class Watch:
    """The sender's clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(sender, "time", made)
    monkeypatch.setattr(database, "TIMEOUT", 0.05)
    return made


def tries(carrier: Carrier, watch: Watch, alias: str, seconds: int) -> list[int]:
    """At which seconds a batch is sent while a database is away: the receiver's, or that of those
    whom it tells."""
    create(*NAMES)
    found = []
    with away(alias):
        for second in range(seconds):
            watch.now = float(second)
            sent = carrier.send()
            found += [second] * len(sent)
            carry_out(carrier, sent)
    return found


@pytest.mark.parametrize("alias", ["elsewhere", "default"])
def test_while_a_database_is_away_a_batch_comes_seldom_and_is_stored_once(
    carrier: Carrier, watch: Watch, alias: str
) -> None:
    expected = [0, 3, 6, 9, 15, 27, 51, 81, 111, 141, 171, 201, 231, 261, 291]
    assert tries(carrier, watch, alias, seconds=300) == expected

    # when it is back, the next attempt brings everything
    watch.now += sender.LONGEST_AGAIN_SECONDS
    while sent := carrier.send():
        carry_out(carrier, sent)
    assert arrived() == NAMES
    assert reached() == confirmed() > 0


def test_control_without_pauses_it_comes_each_time_that_somebody_looks(
    carrier: Carrier, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender.Flight, "waits", lambda flight: False)

    assert tries(carrier, watch, "elsewhere", seconds=30) == list(range(30))
