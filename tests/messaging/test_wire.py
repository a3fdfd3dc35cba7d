"""Statements take the short way to the database, and arrive there as psycopg's would."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ecommerce.messaging import wire
from ecommerce.messaging.arrays import array
from ecommerce.messaging.database import Connection, connect
from tests.messaging.steps import until

pytestmark = pytest.mark.django_db(transaction=True)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "date": st.dates(),
    "double precision": st.floats(allow_nan=False),
    "int[]": st.lists(st.none() | st.integers(-(2**31), 2**31 - 1)),
    "interval": st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    "text[]": st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
    "timestamp with time zone": st.datetimes(timezones=st.just(UTC)),
    "uuid": st.uuids(),
}
MEGABYTE = 1_000_000
NOTE_1, NOTE_2 = ("INSERT INTO noted VALUES (1)", "INSERT INTO noted VALUES (2)")


@pytest.fixture
def conn() -> Iterator[Connection]:
    with connect("default") as conn:
        conn.execute("SET TimeZone = 'UTC'")
        conn.execute("CREATE TEMPORARY TABLE noted (number int PRIMARY KEY, what varchar(20))")
        yield conn


def note(conn: Connection, *numbers: int) -> None:
    for number in numbers:
        conn.execute("INSERT INTO noted VALUES (%b, %b)", (number, "x"))


def together(conn: Connection, *queries: str) -> None:
    """Send statements in one pipeline; an empty one ends the transaction before it."""
    with conn.pipeline():
        for query in queries:
            conn.execute(query) if query else conn.sync()


def noted(conn: Connection) -> list[int]:
    return [number for (number,) in conn.execute("SELECT number FROM noted ORDER BY 1")]


def plans(conn: Connection) -> int:
    found = conn.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone()
    return int((found or (0,))[0])


# Values


@pytest.mark.parametrize("kind", VALUES)
def test_values_arrive_as_they_were(kind: str, conn: Connection) -> None:
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.none() | VALUES[kind])
    def arrive(value: Any) -> None:
        assert conn.execute(f"SELECT %b::{kind}", (value,)).fetchone() == (value,)

    arrive()


def test_a_columns_type_is_found_out_by_the_server(conn: Connection) -> None:
    note(conn, 1, 2)

    found = conn.execute("SELECT number FROM noted WHERE what = %b AND number > %b", ("x", 1))

    assert found.fetchall() == [(2,)]


def test_a_per_cent_sign_is_doubled_where_there_are_parameters(conn: Connection) -> None:
    assert conn.execute("SELECT 7 % 4").fetchone() == (3,)
    assert conn.execute("SELECT 7 %% %b::int", (4,)).fetchone() == (3,)


@pytest.mark.parametrize("kind", ["text", "varchar", "jsonb", "int"])
def test_a_nul_is_refused_and_never_cut_off(kind: str, conn: Connection) -> None:
    with pytest.raises(psycopg.DataError):
        conn.execute(f"SELECT %b::{kind}", ("1\x002",))


def test_a_named_value_goes_wherever_its_name_stands(conn: Connection) -> None:
    query = "SELECT %(much)b::int + %(little)b::int, %(much)b::int"

    alone = conn.execute(query, {"little": 2, "much": 40})
    with conn.pipeline():
        together = conn.execute(query, {"little": 2, "much": 60})

    assert [alone.fetchone(), together.fetchone()] == [(42, 40), (62, 60)]
    with pytest.raises(KeyError, match="little"):
        conn.execute(query, {"much": 40})


def test_what_only_psycopg_knows_is_left_to_it(conn: Connection) -> None:
    note(conn, 1)
    query = sql.SQL("SELECT what FROM {} WHERE number = %s").format(sql.Identifier("noted"))

    assert conn.execute(query, (1,)).fetchone() == ("x",)
    assert list(conn.cursor().execute("SELECT %s", ("x",))) == [("x",)]
    with conn.cursor().copy("COPY noted TO STDOUT") as copy:
        assert list(copy.rows()) == [("1", "x")]


# Answers


def test_rows_are_fetched_once(conn: Connection) -> None:
    answer = conn.execute("SELECT * FROM generate_series(1, 3)")

    assert (answer.rowcount, answer.fetchone(), answer.fetchall()) == (3, (1,), [(2,), (3,)])
    assert answer.fetchone() is None
    assert list(answer) == []


def test_a_statement_without_rows_has_none_to_fetch(conn: Connection) -> None:
    answer = conn.execute("UPDATE noted SET what = 'y'")

    assert answer.rowcount == 0
    with pytest.raises(psycopg.ProgrammingError, match="returns no rows"):
        answer.fetchall()


def test_after_a_stream_all_rows_come_at_once_again(conn: Connection) -> None:
    streamed = list(conn.cursor().stream("SELECT * FROM generate_series(1, 5)", size=2))

    answer = conn.execute("SELECT * FROM generate_series(1, 5)")

    assert answer.fetchall() == streamed == [(number,) for number in range(1, 6)]


# Pipelines


def test_answers_are_there_after_the_pipeline(conn: Connection) -> None:
    with conn.pipeline():
        conn.execute("BEGIN")
        note(conn, 1)
        answer = conn.execute("SELECT number FROM noted")
        with pytest.raises(psycopg.ProgrammingError, match="was not answered yet"):
            answer.fetchall()
        conn.execute("COMMIT")

    assert answer.fetchall() == [(1,)]


def test_what_comes_after_a_refused_statement_is_not_run(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        together(conn, "BEGIN", NOTE_1, NOTE_1, "SELECT 1 / 0", "COMMIT")
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    conn.execute("ROLLBACK")

    assert noted(conn) == []


def test_without_begin_a_pipeline_is_one_transaction_and_sync_ends_it(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        together(conn, NOTE_1, "", NOTE_2, NOTE_2, "", "INSERT INTO noted VALUES (3)")

    assert noted(conn) == [1, 3]


def test_a_block_that_raises_sends_nothing(conn: Connection) -> None:
    with pytest.raises(psycopg.DataError):
        note_in_a_pipeline(conn, 1, "2\0")

    assert noted(conn) == []


def note_in_a_pipeline(conn: Connection, *numbers: Any) -> None:
    with conn.pipeline():
        for number in numbers:
            conn.execute("INSERT INTO noted VALUES (%b::int)", (number,))


def test_what_cannot_be_part_of_a_pipeline_is_refused(conn: Connection) -> None:
    with conn.pipeline():
        with pytest.raises(psycopg.ProgrammingError, match="only `%b`"):
            conn.execute("SELECT %s", (1,))
        with pytest.raises(psycopg.ProgrammingError, match="part of another"), conn.pipeline():
            pass
    with pytest.raises(psycopg.ProgrammingError, match="there is no pipeline"):
        conn.sync()


def test_much_in_both_directions_does_not_block(conn: Connection) -> None:
    sent = [str(number % 10) * MEGABYTE for number in range(20)]

    with conn.pipeline():
        answers = [conn.execute("SELECT %b::text", (text,)) for text in sent]

    assert [answer.fetchone() for answer in answers] == [(text,) for text in sent]


# Plans


def test_a_statement_is_prepared_once_also_within_a_pipeline(conn: Connection) -> None:
    before = plans(conn)

    with conn.pipeline():
        note(conn, 1, 2)
    note(conn, 3)

    assert plans(conn) == before + 1


def test_one_that_could_not_be_prepared_is_tried_again(conn: Connection) -> None:
    query = "SELECT later FROM noted"
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedColumn):
            together(conn, query, NOTE_1)
    conn.execute("ALTER TABLE noted ADD later int")

    assert conn.execute(query).fetchall() == []
    together(conn, NOTE_1)
    assert noted(conn) == [1]


def test_when_there_are_many_further_ones_are_not_prepared(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MOST_PLANS", 10)

    for number in range(20):
        assert conn.execute(f"SELECT {number}").fetchone() == (number,)

    assert plans(conn) == 10


# What breaks


def test_a_connection_that_is_cut_off_is_closed_and_says_so(conn: Connection) -> None:
    with connect("default") as other:
        other.execute("SELECT pg_terminate_backend(%b::int, 5000)", (conn.info.backend_pid,))

    with pytest.raises(psycopg.OperationalError):
        together(conn, "SELECT 1", "SELECT 2")
    assert conn.closed


def test_one_that_is_cut_off_while_it_waits_is_closed_and_says_so(conn: Connection) -> None:
    with once_it_sleeps(conn, "SELECT pg_terminate_backend(%b::int)"):
        with pytest.raises(psycopg.OperationalError):
            together(conn, "SELECT pg_sleep(60)", "SELECT 2")
        assert conn.closed


def test_one_that_is_cut_off_in_a_prepared_statement_is_closed_and_says_so(
    conn: Connection,
) -> None:
    sleep = "SELECT pg_sleep(%b::float8)"
    conn.execute(sleep, (0.0,))

    with once_it_sleeps(conn, "SELECT pg_terminate_backend(%b::int)"):
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            conn.execute(sleep, (60.0,))
        assert conn.closed


def test_a_prepared_statement_that_is_refused_can_be_sent_again(conn: Connection) -> None:
    divide = "SELECT 6 / %b::int"
    conn.execute(divide, (1,))

    with pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute(divide, (0,))

    assert conn.execute(divide, (2,)).fetchone() == (3,)


def test_one_that_a_signal_interrupts_is_closed_for_nobody_knows_what_will_come(
    conn: Connection,
) -> None:
    def interrupt(*_: Any) -> None:
        raise InterruptedError

    pid = conn.info.backend_pid
    before = signal.signal(signal.SIGUSR1, interrupt)
    with once_it_sleeps(conn, "SELECT %b::int", signal.SIGUSR1):
        with pytest.raises(InterruptedError):
            together(conn, "SELECT pg_sleep(60)", "SELECT 2")
        assert conn.closed
    signal.signal(signal.SIGUSR1, before)
    with connect("default") as other:
        other.execute("SELECT pg_terminate_backend(%b::int, 5000)", (pid,))  # it sleeps on


@contextmanager
def once_it_sleeps(conn: Connection, query: str, number: int = 0) -> Iterator[None]:
    """As soon as a connection's process sleeps, run a query about it, and signal this thread."""
    pid, waiting = conn.info.backend_pid, threading.get_ident()

    def wait() -> None:
        with connect("default") as other:
            asleep = "SELECT FROM pg_stat_activity WHERE pid = %b AND wait_event = 'PgSleep'"
            until(lambda: other.execute(asleep, (pid,)).fetchone() is not None)
            other.execute(query, (pid,))
        if number:
            signal.pthread_kill(waiting, number)

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def test_kinds_of_columns_do_not_change_what_is_sent(conn: Connection) -> None:
    ids = [uuid.uuid4(), None]
    when = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)

    answer = conn.execute(
        "SELECT %b::uuid[], %b::timestamptz, %b::date[]",
        (array("uuid[]", ids), when, [date(2026, 3, 1)]),
    )

    assert answer.fetchone() == (ids, when, [date(2026, 3, 1)])
