"""The delivery log's coming days are made once, however many workers begin at once, and dropped
after a month."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from ecommerce.messaging import upkeep
from ecommerce.messaging.database import Connection
from ecommerce.messaging.services import service
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product
from tests.messaging.steps import fetch, is_blocked, until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

DAY = 86_400
KEEP = "SELECT messaging_keep_days('analytics_delivery', 2, 30)"


def days() -> int:
    found = "SELECT count(*) FROM pg_inherits WHERE inhparent = '{delivery}'::regclass"
    ((count,),) = fetch("analytics", found)
    return int(count)


def test_workers_that_begin_at_once_make_the_coming_days_once(
    clock: Clock, connection: Callable[[], Connection]
) -> None:
    # given days that nobody has made yet
    before = days()
    clock.advance(12 * DAY)
    start = threading.Barrier(4)

    def keep(conn: Connection) -> None:
        start.wait()
        upkeep.begin_and_forget(conn, [service("analytics")])

    # when
    with ThreadPoolExecutor(4) as threads:
        keeping = [threads.submit(keep, connection()) for _ in range(4)]
        for each in keeping:
            each.result()
    # then
    assert days() == before + 3


def test_control_without_taking_turns_the_second_one_fails(
    clock: Clock, connection: Callable[[], Connection]
) -> None:
    clock.advance(20 * DAY)
    first, second = connection(), connection()
    with ThreadPoolExecutor(1) as thread:
        with first.transaction():
            first.execute(KEEP)
            keeping = thread.submit(second.execute, KEEP)
            until(lambda: is_blocked(second))
        with pytest.raises((psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation)):
            keeping.result()


@pytest.fixture
def keep(clock: Clock, connection: Callable[[], Connection]) -> Iterator[Callable[[], None]]:
    """Do what a worker of inventory does now and then; the present days are made again at the end."""
    conn = connection()

    def now() -> None:
        upkeep.begin_and_forget(conn, [service("inventory")])

    yield now
    clock.advance(-clock.ahead)
    now()


@pytest.mark.parametrize("worked", [True, False])
def test_what_was_delivered_more_than_thirty_days_ago_is_dropped(
    clock: Clock, keep: Callable[[], None], worked: bool
) -> None:
    def ages() -> list[int]:
        query = "SELECT messaging_now()::date - delivered_at::date FROM {delivery} ORDER BY 1"
        return [days for (days,) in fetch("inventory", query)]

    # given a delivery on one day and on the next, for which somebody made tables, or nobody
    clock.advance(40 * DAY)
    if worked:
        keep()
    create_product("first")
    clock.advance(DAY)
    create_product("second")
    # when
    clock.advance(29 * DAY)
    keep()
    assert ages() == [29, 30]
    clock.advance(DAY)
    keep()
    # then
    assert ages() == [30]
