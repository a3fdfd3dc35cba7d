"""How many calls of a policy run at once, and which workers make them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from ecommerce.messaging import admission
from ecommerce.messaging.claims import CLAIM_SECONDS
from ecommerce.messaging.database import Connection
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.performer import Performer
from ecommerce.messaging.policies import Policy, worth
from ecommerce.messaging.services import service
from ecommerce.messaging.worker import Worker
from ecommerce.values import Money
from ecommerce.web.health import readiness
from payments.contracts import ChargeCard
from tests.messaging.calls import Caller, Gateway, answers, pay
from tests.messaging.conftest import Clock
from tests.messaging.steps import PATIENCE, Altered, counts, fetch, is_blocked, until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Call = Callable[..., Caller]
Declare = Callable[..., None]
TURNS = {"SELECT pg_advisory_xact_lock(hashtextextended(%b::text, 0))": "SELECT length(%b::text)"}


@pytest.fixture
def held(gateway: Gateway) -> Iterator[threading.Event]:
    """The gateway answers nobody until this is set."""
    go_on = threading.Event()
    gateway.before = lambda: go_on.wait(PATIENCE)
    yield go_on
    go_on.set()


def in_flight(*callers: Caller) -> int:
    return sum(len(caller.effects.in_flight) for caller in callers)


def paid() -> list[str]:
    return sorted(order for order, _ in answers())


# Concurrency


def test_no_more_calls_run_than_the_policy_allows_over_all_workers(
    caller: Call, held: threading.Event, declare: Declare
) -> None:
    declare(Policy(name="two", messages=(ChargeCard,), concurrency=2))
    for number in range(5):
        pay(f"o{number}")
    one, two = caller("one"), caller("two")

    # when both start what they may
    assert (one.start(), two.start(), one.start()) == (2, 0, 2)

    # then a place that becomes free is anybody's
    held.set()
    one.record()
    assert (two.start(), one.start()) == (2, 0)
    two.record()
    one.perform()
    assert paid() == ["o0", "o1", "o2", "o3", "o4"]


def test_without_a_policy_they_all_run(
    caller: Call, held: threading.Event, declare: Declare
) -> None:
    declare()
    for number in range(3):
        pay(f"o{number}")

    assert caller("one").start() == 3


class Pausing:
    """A claimer's connection that waits between counting what is in flight and looking what is due."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.paused, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, query: str, *args: Any, **options: Any) -> Any:
        if "name <> ALL" in query:
            self.paused.set()
            assert self.go_on.wait(PATIENCE)
        return self._conn.execute(query, *args, **options)


@contextmanager
def counted(caller: Caller) -> Iterator[threading.Event]:
    """A worker that has counted, and claims when the event is set or the block ends."""
    pausing = Pausing(caller.conn)
    caller.conn = pausing  # type: ignore[assignment]
    thread = threading.Thread(target=caller.start)
    thread.start()
    assert pausing.paused.wait(PATIENCE)
    try:
        yield pausing.go_on
    finally:
        pausing.go_on.set()
        thread.join(PATIENCE)


@pytest.fixture
def last_place(caller: Call, held: threading.Event, declare: Declare) -> tuple[Caller, Caller]:
    """Two workers, two calls that are due, and one place."""
    declare(Policy(name="one at a time", messages=(ChargeCard,), concurrency=1))
    pay("a")
    pay("b")
    return caller("one"), caller("two")


def test_two_workers_do_not_both_take_the_last_place(last_place: tuple[Caller, Caller]) -> None:
    one, two = last_place
    with counted(one) as go_on, ThreadPoolExecutor(1) as pool:
        second = pool.submit(two.start)
        until(lambda: is_blocked(two.conn))
        go_on.set()
        assert second.result(PATIENCE) == 0

    assert in_flight(one, two) == 1


def test_control_without_taking_turns_both_take_the_last_place(
    last_place: tuple[Caller, Caller],
) -> None:
    one, two = last_place
    for each in last_place:
        each.conn = Altered(each.conn, TURNS)  # type: ignore[assignment]
    with counted(one):
        assert two.start() == 1

    assert in_flight(one, two) == 2


def test_many_workers_at_once_keep_to_the_limit(
    caller: Call, gateway: Gateway, declare: Declare
) -> None:
    declare(Policy(name="three", messages=(ChargeCard,), concurrency=3))
    running, most = [], []

    def enter() -> None:
        running.append(1)
        most.append(len(running))

    gateway.before, gateway.after = enter, running.pop
    for number in range(40):
        pay(f"o{number:02}")
    workers = [caller(f"worker-{number}") for number in range(4)]

    def work(worker: Caller) -> None:
        while counts("payments")["effect"]:
            worker.perform()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, worker) for worker in workers]:
            future.result(60)

    assert max(most) <= 3
    assert paid() == [f"o{number:02}" for number in range(40)]
    assert gateway.calls == 40


def test_places_of_a_crashed_worker_are_free_when_its_claims_lapse(
    caller: Call, gateway: Gateway, declare: Declare, clock: Clock
) -> None:
    declare(Policy(name="one", messages=(ChargeCard,), concurrency=1))
    pay("a")
    pay("b")
    crashed, heir = caller("crashed"), caller("heir")
    assert len(crashed.effects._claim(crashed.conn, 16)) == 1

    assert heir.perform() == 0
    clock.advance(CLAIM_SECONDS + 1)
    assert heir.perform() == 1
    assert heir.perform() == 1
    assert paid() == ["a", "b"]


def test_what_waits_for_a_place_does_not_hold_up_what_need_not(
    caller: Call, held: threading.Event, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "LOOKED_AT", 3)
    declare(Policy(name="large", where=worth(Money(5000, "USD")), concurrency=1))
    for number in range(8):
        pay(f"large-{number}", amount=9000)
    pay("small")
    worker = caller("one")

    assert worker.start() == 2
    held.set()
    worker.record()
    assert paid() == ["large-0", "small"]


def test_each_tenant_of_a_policy_for_some_is_told_apart(
    caller: Call, held: threading.Event, declare: Declare
) -> None:
    declare(Policy(name="others", tenants={"other"}, concurrency=1))
    for tenant in ("main", "other"):
        pay("a", tenant=tenant)
        pay("b", tenant=tenant)

    assert caller("one").start() == 3


def test_while_calls_are_held_back_a_worker_rests(
    caller: Call, held: threading.Event, declare: Declare
) -> None:
    declare(Policy(name="one", messages=(ChargeCard,), concurrency=1))
    pay("a")
    pay("b")
    first = caller("first")
    first.start()
    second = caller("second")
    lane = Lane("default", [service("payments")], "second", {})
    resting = Performer(lane, threading.Event(), None)

    assert resting._once([second.effects], second.conn, closely=True) == 0


# Topics


def test_a_worker_of_some_topics_takes_these_only(
    caller: Call, gateway: Gateway, declare: Declare
) -> None:
    declare(Policy(name="large", where=worth(Money(5000, "USD")), topic="slow"))
    pay("large", amount=9000)
    pay("small")

    assert caller("elsewhere", "mail").perform() == 0
    assert caller("default", "default").perform() == 1
    assert paid() == ["small"]
    assert caller("slow", "slow", "mail").perform() == 1
    assert paid() == ["large", "small"]


def test_a_worker_without_topics_takes_everything(
    caller: Call, gateway: Gateway, declare: Declare
) -> None:
    declare(Policy(name="large", where=worth(Money(5000, "USD")), topic="slow"))
    pay("large", amount=9000)
    pay("small")

    assert caller("any").perform() == 2


def test_a_running_worker_keeps_to_its_topics(gateway: Gateway, declare: Declare) -> None:
    declare(Policy(name="charges", messages=(ChargeCard,), topic="slow"))
    pay("one")

    Worker(["payments"], topics=["default"]).drain(PATIENCE)
    assert (paid(), gateway.calls) == ([], 0)

    worker = Worker(["payments"], topics=["slow"])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(lambda: paid() == ["one"])
    finally:
        worker.stop()
        thread.join()
    assert fetch("payments", 'SELECT count(*) FROM "{delivery}" WHERE policy = %b', "charges") == [
        (1,)
    ]


def test_what_no_running_worker_takes_makes_not_ready(
    gateway: Gateway, declare: Declare, settings: Settings
) -> None:
    settings.READY_OLDEST_SECONDS = 0
    declare(Policy(name="charges", messages=(ChargeCard,), topic="slow"))

    def overdue() -> list[str]:
        return [check.name for check in readiness() if check.fails and "calls" in check.name]

    pay("one")
    Worker(["payments"], topics=["default"]).drain(PATIENCE)
    assert (paid(), overdue()) == ([], ["calls payments"])

    Worker(["payments"], topics=["slow"]).drain(PATIENCE)
    assert (paid(), overdue()) == (["one"], [])


@pytest.mark.parametrize("topics", ["slow,typo", "", ","])
def test_a_topic_that_no_policy_has_is_refused(topics: str, declare: Declare) -> None:
    declare(Policy(name="charges", messages=(ChargeCard,), topic="slow"))

    with pytest.raises(CommandError, match=r"there are \['default', 'slow'\]"):
        call_command("runworker", "--topics", topics, stdout=StringIO())
