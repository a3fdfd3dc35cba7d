"""Columns of values arrive in the database as they were, whatever their type."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecommerce.messaging.arrays import ELEMENTS, array
from ecommerce.messaging.database import Connection, connect

INSTANTS = st.datetimes(timezones=st.just(UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bigint[]": st.integers(-(2**63), 2**63 - 1),
    "boolean[]": st.booleans(),
    "double precision[]": st.floats(allow_nan=False),
    "int[]": st.integers(-(2**31), 2**31 - 1),
    "integer[]": st.integers(-(2**31), 2**31 - 1),
    "text[]": st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    "timestamp with time zone[]": INSTANTS,
    "timestamptz[]": INSTANTS,
    "uuid[]": st.uuids(),
}


def alike(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Columns of one value."""
    return st.builds(lambda value, times: [value] * times, values, st.integers(2, 5))


@pytest.fixture
def conn(transactional_db: None) -> Iterator[Connection]:
    with connect("default") as conn:
        conn.execute("SET TimeZone = 'UTC'")
        yield conn


def test_every_known_type_is_tried() -> None:
    assert VALUES.keys() == ELEMENTS.keys()


@pytest.mark.parametrize("kind", VALUES)
def test_values_and_nulls_arrive_as_they_were(kind: str, conn: Connection) -> None:
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(st.none() | VALUES[kind], max_size=5) | alike(st.none() | VALUES[kind]))
    def arrive(values: list[Any]) -> None:
        sent = array(kind, values)
        (found,) = conn.execute(f"SELECT %b::{kind}", (sent,)).fetchone() or ()
        assert found == values
        same = conn.execute(f"SELECT %b::{kind} IS NOT DISTINCT FROM %b::{kind}", (sent, values))
        assert same.fetchone() == (True,)

    arrive()


def test_an_instant_of_another_zone_is_the_same_instant(conn: Connection) -> None:
    there = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-8)))

    query = "SELECT (%b::timestamptz[])[1] = '2026-03-01 20:00Z'"

    assert conn.execute(query, (array("timestamptz[]", [there]),)).fetchone() == (True,)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int[]", 2**31), ("uuid[]", "no uuid"), ("text[]", 7), ("text[]", "\ud800"),
     ("timestamptz[]", datetime.now(UTC).replace(tzinfo=None))],
)  # fmt: skip
def test_a_value_that_the_type_does_not_hold_is_named(
    kind: str, value: Any, conn: Connection
) -> None:
    with pytest.raises(psycopg.DataError, match=r"cannot be in .*\[\]"):
        conn.execute(f"SELECT %b::{kind}", (array(kind, [value]),))


def test_a_type_that_is_not_known_is_left_to_psycopg(conn: Connection) -> None:
    values = array("date[]", [date(2026, 3, 1), None])

    assert conn.execute("SELECT %b::date[]", (values,)).fetchone() == (values,)
