"""A reader of a log neither loses nor reorders what commits late, and waits for nobody else.

Writers are connections whose transactions the test opens and ends one step at a time. Positions
are drawn at the INSERT; transactions commit in another order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecommerce.messaging import log
from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.messages import Message, decode
from ecommerce.messaging.relay import Relay
from ecommerce.messaging.services import service
from orders.contracts import OrderReserved
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import reserve
from tests.messaging.steps import append, fetch, replaced_function, until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Connect = Callable[[], Connection]
NO_HORIZON = """
    CREATE OR REPLACE FUNCTION messaging_horizon(log text, known bigint)
    RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE drawn bigint;
    BEGIN
        EXECUTE format('SELECT last_value FROM %I', log || '_position_seq') INTO drawn;
        RETURN drawn;
    END $$"""


class Reader(Protocol):
    """Reads the log of `orders`, as far as it dares, and remembers what it got."""

    def __call__(self) -> list[str]:
        """Read on; return the ids of the orders of everything read so far."""


class LogReader:
    """A service in the same database: it reads the log itself."""

    def __init__(self, conn: Connection) -> None:
        self.conn, self.position = conn, 0
        self.got: list[Message] = []
        self.own: list[log.Appended] = []
        """What the reader's own process has committed."""

    def __call__(self) -> list[str]:
        table = "orders_log"
        known = log.horizons_after({table: self.position}, self.own)
        upto = log.horizons(self.conn, [table], known)[table]
        self.own.clear()
        names = ["inventory.ReserveInventory", "orders.OrderReserved"]
        rows = self.conn.execute(*log.read(table, [self.position] * 64, upto, names, 10_000))
        self.got += [log.stored("orders", row).message() for row in rows]
        self.position = max(self.position, upto)
        return [message.order_id for message in self.got]  # type: ignore[attr-defined]


class RelayReader:
    """A service in another database: what it wants is copied into its inbox."""

    def __init__(self, conn: Connection) -> None:
        names = ["inventory.ReserveInventory", "orders.OrderReserved"]
        target = service("inventory")
        self.inbox = connect(target.database)
        self.relay = Relay(service("orders"), target, conn, self.inbox, names)

    def __call__(self) -> list[str]:
        while self.relay.copy():
            pass
        query = 'SELECT name, contract, payload, personal FROM "{inbox}" ORDER BY position'
        return [decode(*row).order_id for row in fetch("inventory", query)]  # type: ignore[attr-defined]


@pytest.fixture(params=["log", "relay"])
def read(request: pytest.FixtureRequest, connection: Connect) -> Iterator[Reader]:
    if request.param == "log":
        yield LogReader(connection())
        return
    elsewhere: Elsewhere = request.getfixturevalue("elsewhere")
    elsewhere.move("inventory")
    reader = RelayReader(connection())
    yield reader
    reader.inbox.close()


def lower_position_commits_last(connection: Connect, read: Reader) -> list[str]:
    early, late = connection(), connection()
    early.execute("BEGIN")
    append(early, "orders", reserve("drawn first"))
    late.execute("BEGIN")
    append(late, "orders", reserve("drawn second"))
    late.execute("COMMIT")
    read()
    early.execute("COMMIT")
    return read()


def test_a_lower_position_that_commits_later_is_not_lost(connection: Connect, read: Reader) -> None:
    assert lower_position_commits_last(connection, read) == ["drawn first", "drawn second"]


def test_control_without_the_lock_it_is_lost(connection: Connect, read: Reader) -> None:
    with replaced_function(connection(), "messaging_horizon", NO_HORIZON):
        assert lower_position_commits_last(connection, read) == ["drawn second"]


NOT_TO_BE_ASKED = """
    CREATE OR REPLACE FUNCTION messaging_horizon(log text, known bigint)
    RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'asked'; END $$"""


def test_what_a_process_committed_itself_it_reads_without_asking(connection: Connect) -> None:
    conn, read = connection(), LogReader(connection())
    read.position = head(conn)
    with replaced_function(connection(), "messaging_horizon", NOT_TO_BE_ASKED):
        for name in ("first", "second"):
            with conn.transaction():
                read.own += own(append(conn, "orders", reserve(name), reserve(name)))

        assert read() == ["first", "first", "second", "second"]


def own_commit_behind_an_open_one(connection: Connect) -> list[str]:
    early, late, read = connection(), connection(), LogReader(connection())
    read.position = head(late)
    early.execute("BEGIN")
    append(early, "orders", reserve("drawn first"))
    with late.transaction():
        read.own += own(append(late, "orders", reserve("own")))
    read()
    early.execute("COMMIT")
    return read()


def test_an_own_commit_does_not_hide_what_lies_before_it(connection: Connect) -> None:
    assert own_commit_behind_an_open_one(connection) == ["drawn first", "own"]


def test_control_reading_up_to_ones_own_commit_loses_what_lies_before_it(
    connection: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def up_to_the_last(
        known: Mapping[str, int], appended: Iterable[log.Appended]
    ) -> dict[str, int]:
        return {**known, **{name: last for name, _, last in appended}}

    monkeypatch.setattr(log, "horizons_after", up_to_the_last)

    assert own_commit_behind_an_open_one(connection) == ["own"]


def own(positions: list[int]) -> list[log.Appended]:
    """What a process notes of its own commit."""
    return log.without_gap("orders_log", positions)


def head(conn: Connection) -> int:
    """The last position that was drawn; nobody writes meanwhile."""
    (position,) = conn.execute(
        "SELECT coalesce(pg_sequence_last_value('orders_log_position_seq'), 0)"
    ).fetchone() or (0,)
    return int(position)


def test_an_older_transaction_may_write_the_same_stream_later(
    connection: Connect, read: Reader
) -> None:
    older, younger = connection(), connection()
    older.execute("BEGIN")
    older.execute("SELECT pg_current_xact_id()")
    with younger.transaction():
        append(younger, "orders", reserve("o1"))
    read()
    append(older, "orders", reserve("o1"), reserve("o2"))
    with younger.transaction():
        append(younger, "orders", reserve("o3"))
    older.execute("COMMIT")

    assert read() == ["o1", "o1", "o2", "o3"]


def test_a_writer_that_has_not_reached_its_insert_stalls_nobody(
    connection: Connect, read: Reader
) -> None:
    third, writer = connection(), connection()
    third.execute("BEGIN")
    third.execute("UPDATE orders_partition SET suspect = 'open' WHERE number = 0")
    with writer.transaction():
        append(writer, "orders", reserve("o1"))

    assert read() == ["o1"]
    append(third, "orders", reserve("o2"))
    third.execute("COMMIT")
    assert read() == ["o1", "o2"]


def test_a_writer_of_another_log_stalls_nobody(connection: Connect, read: Reader) -> None:
    stranger, writer = connection(), connection()
    stranger.execute("BEGIN")
    append(stranger, "payments", OrderReserved(order_id="elsewhere"))
    for number in range(3):
        with writer.transaction():
            append(writer, "orders", reserve(f"o{number}"))
        assert read() == [f"o{n}" for n in range(number + 1)]
    stranger.execute("ROLLBACK")


def test_a_writer_that_is_stuck_after_its_insert_delays_readers_and_loses_nothing(
    connection: Connect, read: Reader
) -> None:
    stuck, writer = connection(), connection()
    stuck.execute("BEGIN")
    append(stuck, "orders", reserve("stuck"))
    with writer.transaction():
        append(writer, "orders", reserve("o1"))

    assert read() == []
    stuck.close()  # as a crash would
    until(lambda: read() == ["o1"])


@contextmanager
def writers(connection: Connect, count: int, transactions: int) -> Iterator[list[threading.Thread]]:
    """Threads that each write their own streams, a few messages in each transaction."""

    def run(conn: Connection, name: int) -> None:
        for number in range(transactions):
            with conn.transaction():
                stream = f"{name}.{number % 3}"
                append(
                    conn, "orders", OrderReserved(order_id=stream), reserve(f"{stream}/{number}")
                )

    threads = [
        threading.Thread(target=run, args=(connection(), name), daemon=True)
        for name in range(count)
    ]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.join()


def test_eight_writers_and_a_reader_lose_and_reorder_nothing(
    connection: Connect, read: Reader
) -> None:
    with writers(connection, count=8, transactions=200) as threads:
        while any(thread.is_alive() for thread in threads):
            read()

    got = read()
    query = 'SELECT count(*) FROM "{log}"'
    assert fetch("orders", query) == [(len(got),)] == [(8 * 200 * 2,)]
    for name in range(8):
        numbers = [int(order.partition("/")[2]) for order in got if order.startswith(f"{name}.")
                   and "/" in order]  # fmt: skip
        assert numbers == list(range(200))


OWN = 2
"""How many of the writers belong to the reader's process."""
STEPS = st.tuples(st.integers(0, 3), st.sampled_from(["write", "commit", "roll back", "read"]))


@given(steps=st.lists(STEPS, max_size=25))
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True
)
def test_any_interleaving_of_writers_and_readings_gives_each_stream_in_order(
    connection: Connect, steps: list[tuple[int, str]]
) -> None:
    with connect("default") as conn:
        conn.execute("TRUNCATE orders_log")
    read = LogReader(connection())
    conns = [connection() for _ in range(4)]
    open_: dict[int, list[str]] = {}
    positions: dict[int, list[int]] = {}
    committed: dict[int, list[str]] = {writer: [] for writer in range(4)}
    for number, (writer, step) in enumerate(steps):
        if step == "write":
            if writer not in open_:
                conns[writer].execute("BEGIN")
            order = f"{writer}/{number}"
            drawn = append(conns[writer], "orders", reserve(order))
            positions[writer] = [*positions.get(writer, []), *drawn]
            open_.setdefault(writer, []).append(order)
        elif step == "read":
            read()
        elif writer in open_:
            conns[writer].execute("COMMIT" if step == "commit" else "ROLLBACK")
            written = open_.pop(writer)
            committed[writer] += written if step == "commit" else []
            drawn = positions.pop(writer)
            if step == "commit" and writer < OWN:
                read.own += own(drawn)
    for conn in conns:
        conn.close()

    got = until(lambda: _nobody_open(conns) and [read()])[0]
    for writer in range(4):
        assert [order for order in got if order.startswith(f"{writer}/")] == committed[writer]
    assert len(got) == sum(map(len, committed.values()))


def _nobody_open(conns: list[Connection]) -> bool:
    """Whether the server has noticed that these connections are gone."""
    pids = [conn.info.backend_pid if not conn.closed else 0 for conn in conns]
    assert not any(pids)
    with connect("default") as conn:
        query = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return conn.execute(query).fetchone() == (0,)
