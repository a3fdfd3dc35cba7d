"""A rebuild can be asked for, watched, and called off; of one group there is one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from customers.models import CustomerActivity, OrderSummary
from ecommerce.messaging import database, rebuilder, rebuilds, replay
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import SESSION, Connection, close_pools, connect
from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.projections import differences, groups, read_models
from ecommerce.messaging.rebuilder import Rebuilder
from ecommerce.messaging.rebuilds import Busy, Cancelled, cancel, request, run
from ecommerce.messaging.services import services
from ecommerce.messaging.worker import Worker
from inventory import projections
from inventory.contracts import RestockInventory
from inventory.models import InventoryLevel
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import create_product, restocked
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import PATIENCE, Puppet, fetch, until, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

LEVEL = [InventoryLevel]
WAITING = """
    SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE NOT granted AND datname = current_database()"""


@pytest.fixture
def stock() -> None:
    """Two products with a little history; the read model shows one of them wrongly."""
    create_product("mouse", 5)
    create_product("desk", 5)
    write("inventory", *(restocked("mouse", 1) for _ in range(20)))
    settle()
    InventoryLevel.objects.filter(product_id="mouse").update(name="wrong")


def rows(*columns: str) -> list[Any]:
    query = f'SELECT {", ".join(columns)} FROM "{{rebuild}}" ORDER BY id'
    return fetch("inventory", query)


def name() -> str:
    return InventoryLevel.objects.get(product_id="mouse").name


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("rebuild", *arguments, stdout=out, stderr=out)
    return out.getvalue()


@contextmanager
def paused(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Callable[..., None], threading.Event]]:
    """A watcher that stands still when it is told of the first batch."""
    monkeypatch.setattr(replay, "BATCH", 10)
    arrived, go_on = threading.Event(), threading.Event()

    def watch(events: int, total: int) -> None:
        arrived.set()
        assert go_on.wait(PATIENCE)

    try:
        yield watch, arrived
    finally:
        go_on.set()


# What its row says


def test_a_rebuild_leaves_a_row_that_says_what_it_found(stock: None) -> None:
    run(LEVEL, "user:1")

    assert name() == "Mouse"
    columns = ("models_named", "state", "actor", "events", "total", "differences", "error")
    assert rows(*columns) == [("inventory.InventoryLevel", "done", "user:1", 24, 24, 1, "")]


def test_a_comparison_changes_nothing(stock: None) -> None:
    with pytest.raises(CommandError, match="1 rows differ"):
        command("inventory.InventoryLevel", "--compare")

    assert name() == "wrong"
    assert rows("state", "actor", "differences") == [("compared", "manage.py", 1)]


def test_progress_is_seen_by_others_after_each_batch(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with paused(monkeypatch) as (watch, arrived):
            rebuilding = pool.submit(run, LEVEL, "user:1", watch=watch)
            assert arrived.wait(PATIENCE)
            assert rows("state", "events", "total") == [("running", 10, 24)]
            assert name() == "wrong"
        rebuilding.result(PATIENCE)
    assert rows("state", "events") == [("done", 24)]


def test_what_is_parked_is_noted(stock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.delattr(projections, "InventoryRestocked")
        execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")
        settle()

    run(LEVEL, "user:1")

    assert rows("state", "error") == [("done", "1 deliveries are parked or dead")]


def test_one_that_fails_says_why_and_changes_nothing(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(projections, "InventoryRestocked")

    with pytest.raises(CommandError, match="inventory_levels fails on"):
        command("inventory.InventoryLevel")

    ((state, error),) = rows("state", "error")
    assert state == "failed"
    assert error.startswith("RebuildFailed: inventory.inventory_levels fails on")
    assert "NameError" not in error
    assert name() == "wrong"


# Calling off


def test_one_that_is_called_off_stops_within_a_batch(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with paused(monkeypatch) as (watch, arrived):
            rebuilding = pool.submit(run, LEVEL, "user:1", watch=watch)
            assert arrived.wait(PATIENCE)
            assert "inventory.InventoryLevel: called off, it was running" in command("--cancel")
        with pytest.raises(Cancelled, match="called off after 20 of 24 events"):
            rebuilding.result(PATIENCE)

    assert rows("state", "differences") == [("cancelled", None)]
    assert name() == "wrong"
    assert command("--cancel") == ""


def test_one_that_waits_is_called_off_at_once(stock: None) -> None:
    waiting = request(LEVEL, "user:1")

    assert cancel(waiting)

    assert rows("state") == [("cancelled",)]
    assert not cancel(waiting)
    with pytest.raises(Cancelled, match="somebody else has run it, or called it off"):
        run(LEVEL, "user:1", requested=waiting.id)
    assert name() == "wrong"


def test_ctrl_c_leaves_a_row_that_says_so(
    stock: None, connection: Callable[[], Connection]
) -> None:
    # given a rebuild in a process of its own that waits for a batch's rows
    blocker = connection()
    blocker.execute("SET idle_in_transaction_session_timeout = 0")
    blocker.execute("BEGIN")
    blocker.execute("LOCK TABLE inventory_inventorylevel IN ROW EXCLUSIVE MODE")
    process = subprocess.Popen(
        [sys.executable, settings.BASE_DIR / "manage.py", "rebuild", "inventory.InventoryLevel"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ),
        # What a shell starts in the background ignores Ctrl-C, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    until(lambda: fetch("inventory", WAITING) or process.poll())

    # when it gets Ctrl-C
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=PATIENCE)[0].decode()
    blocker.execute("ROLLBACK")

    # then nothing has happened, and everybody can see why
    assert "inventory.InventoryLevel: cancelled, nothing was changed" in told
    assert process.returncode == 1
    assert rows("state") == [("cancelled",)]
    assert name() == "wrong"


def test_a_row_whose_process_died_is_found_and_does_not_hold_up_the_next(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    request(LEVEL, "user:1")
    with connect("default") as conn:
        conn.execute("UPDATE inventory_rebuild SET state = 'running'")
    Rebuilder(services(), threading.Event()).look("default")
    assert rows("state", "error") == [("failed", "the process that ran it has ended")]

    run(LEVEL, "user:1")
    assert rows("state") == [("failed",), ("done",)]


# Somebody else holds what it needs


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks are waited for a moment only."""
    close_pools()
    monkeypatch.setattr(database, "SESSION", SESSION.replace("timeout=10s", "timeout=200ms", 1))
    yield
    close_pools()


@contextmanager
def held(blocker: Connection, lock: str) -> Iterator[None]:
    blocker.execute("SET idle_in_transaction_session_timeout = 0")
    blocker.execute("BEGIN")
    blocker.execute(lock)
    try:
        yield
    finally:
        blocker.execute("ROLLBACK")


@pytest.mark.parametrize("mode", ["ROW EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_table_that_another_session_holds_is_named_and_nothing_is_changed(
    stock: None, hurried: None, connection: Callable[[], Connection], mode: str
) -> None:
    # given somebody who holds the table, a little or altogether
    lock = f"LOCK TABLE inventory_inventorylevel IN {mode} MODE"
    with held(connection(), lock), pytest.raises(CommandError) as refused:
        command("inventory.InventoryLevel")

    # then it is said in one line, and nothing has happened
    told = str(refused.value)
    assert told.startswith(
        "inventory.InventoryLevel: another session holds inventory_inventorylevel"
    )
    assert "nothing was changed: wait for that session, or end it" in told
    assert "\n" not in told
    assert refused.value.returncode == 3
    ((state, error),) = rows("state", "error")
    assert state == "failed"
    assert error.startswith("Held: another session holds inventory_inventorylevel")
    assert name() == "wrong"

    # and as soon as nobody holds it, the same goes well
    command("inventory.InventoryLevel")
    assert name() == "Mouse"


def test_what_was_made_is_told_when_the_projections_names_cannot_be_entered(
    stock: None, hurried: None, connection: Callable[[], Connection]
) -> None:
    blocker = connection()
    blocker.execute("DELETE FROM inventory_handler WHERE name = 'inventory.inventory_levels'")

    lock = "SELECT FROM inventory_partition FOR UPDATE"
    with (
        held(blocker, lock),
        pytest.raises(CommandError, match="the rows are made, but") as refused,
    ):
        command("inventory.InventoryLevel")
    assert refused.value.returncode == 3

    assert "as the events say" in command("inventory.InventoryLevel")
    entered = "SELECT kind FROM {handler} WHERE name = 'inventory.inventory_levels'"
    assert fetch("inventory", entered) == [("projects",)]


def test_a_worker_that_cannot_rebuild_says_so_and_the_next_request_goes_well(
    stock: None, hurried: None, connection: Callable[[], Connection], caplog: Any
) -> None:
    request(LEVEL, "user:1")
    with held(connection(), "LOCK TABLE inventory_inventorylevel IN ROW EXCLUSIVE MODE"):
        Rebuilder(services(), threading.Event()).look("default")

    assert "cannot rebuild inventory.InventoryLevel: another session holds" in caplog.text
    assert not [record for record in caplog.records if record.exc_info]
    request(LEVEL, "user:1")
    Rebuilder(services(), threading.Event()).look("default")
    assert rows("state") == [("failed",), ("done",)]


# One at a time


def two_at_once(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start a second rebuild of a group while the first one is under way; return what comes of it."""
    with ThreadPoolExecutor(2) as pool, paused(monkeypatch) as (watch, arrived):
        first = pool.submit(run, LEVEL, "user:1", watch=watch)
        assert arrived.wait(PATIENCE)
        try:
            return pool.submit(run, LEVEL, "user:2").result(PATIENCE)
        finally:
            assert not first.done()


def test_two_rebuilds_of_one_group_at_once_are_refused(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Busy, match=r"inventory\.InventoryLevel: another rebuild is under way"):
        two_at_once(monkeypatch)

    assert rows("state", "actor") == [("done", "user:1")]
    assert name() == "Mouse"


def test_control_without_the_lock_both_run(stock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(range(100))
    monkeypatch.setattr(rebuilds, "_key", lambda conn, name: next(keys))

    two_at_once(monkeypatch)

    assert [actor for (actor,) in rows("actor")] == ["user:1", "user:2"]


def test_groups_of_their_own_are_rebuilt_side_by_side(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (summary,) = groups([OrderSummary])
    with ThreadPoolExecutor(1) as pool, paused(monkeypatch) as (watch, arrived):
        pool.submit(run, LEVEL, "user:1", watch=watch)
        assert arrived.wait(PATIENCE)
        run(summary, "user:2")


def test_a_request_is_refused_while_there_is_one(stock: None) -> None:
    first = request(LEVEL, "user:1")

    with pytest.raises(Conflict, match=r"inventory\.InventoryLevel is requested") as refused:
        request(LEVEL, "user:2", compare=True)

    assert refused.value.extra == {"id": first.id}
    assert rows("state") == [("requested",)]


# Workers


@contextmanager
def working(monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> Iterator[list[Worker]]:
    monkeypatch.setattr(rebuilder, "LOOK_SECONDS", 0.05)
    found = [Worker() for _ in range(workers)]
    threads = [threading.Thread(target=worker.run) for worker in found]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for worker in found:
            worker.stop()
        for thread in threads:
            thread.join(PATIENCE)


def test_a_worker_runs_what_is_requested(stock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with working(monkeypatch):
        request(LEVEL, "user:1", compare=True)
        until(lambda: rows("state", "differences") == [("compared", 1)])
        assert name() == "wrong"
        request(LEVEL, "user:1")
        until(lambda: rows("state", "differences")[1:] == [("done", 1)])
        assert name() == "Mouse"


def test_a_worker_that_stops_leaves_it_to_another(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH", 10)
    request(LEVEL, "user:1")
    stopping = threading.Event()
    stopped, other = (Rebuilder(services(), event) for event in (stopping, threading.Event()))

    def stop(events: int, total: int) -> None:
        stopping.set()
        Rebuilder._watch(stopped, events, total)

    monkeypatch.setattr(stopped, "_watch", stop)
    stopped.look("default")
    assert rows("state") == [("requested",)]

    other.look("default")
    assert rows("state") == [("done",)]


def test_many_workers_run_it_once(stock: None) -> None:
    request(LEVEL, "user:1")
    start = threading.Barrier(4)

    def look() -> None:
        start.wait(PATIENCE)
        Rebuilder(services(), threading.Event()).look("default")

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(look) for _ in range(4)]:
            future.result(PATIENCE)

    assert rows("state", "differences") == [("done", 1)]


def test_one_whose_read_models_are_gone_is_given_up(stock: None) -> None:
    request(LEVEL, "user:1")
    with connect("default") as conn:
        conn.execute("UPDATE inventory_rebuild SET models_named = 'inventory.Gone'")

    Rebuilder(services(), threading.Event()).look("default")

    ((state, error),) = rows("state", "error")
    assert (state, error) == ("failed", "inventory.Gone are not read models that belong together")


def test_a_service_in_another_database_is_rebuilt_there(
    elsewhere: Elsewhere, puppet: Callable[..., Puppet]
) -> None:
    elsewhere.move("inventory")
    create_product("mouse", 5)
    worker = puppet("inventory")
    worker.work()
    rebuilds._insert(worker.conn, LEVEL, "user:1", "requested")

    Rebuilder(services(), threading.Event()).look("elsewhere")

    assert rows("state", "events", "differences") == [("done", 2, 0)]


def test_one_that_fails_in_a_worker_does_not_end_its_thread(
    stock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    request(LEVEL, "user:1")
    with monkeypatch.context() as broken, working(monkeypatch):
        broken.delattr(projections, "InventoryRestocked")
        until(lambda: rows("state") == [("failed",)])
        broken.undo()
        monkeypatch.setattr(rebuilder, "LOOK_SECONDS", 0.05)
        request(LEVEL, "user:1")
        until(lambda: rows("state") == [("failed",), ("done",)])


# Under live traffic


def content(model: Any) -> list[dict[str, Any]]:
    return list(model.objects.order_by("id").values())


AT_ONCE = 100
"""Orders under way. Without a limit, a slow machine had more to do at the end than it was given time for,
and a fast one sold all there was."""


def test_rebuilt_twice_under_live_traffic_with_three_workers_the_rows_are_what_live_makes(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0
    open_shop(100_000)
    delivered = OrderSummary.objects.filter(status="Delivered")

    def as_many_as(number: int) -> Callable[[], bool]:
        return lambda: delivered.count() >= number

    def rebuild_all_twice() -> None:
        for _ in range(2):
            for group in groups(read_models()):
                run(group, "user:1")

    # given three workers, and customers who order all the time
    with working(monkeypatch, workers=3), ThreadPoolExecutor(1) as pool:
        for number in range(5):
            place(f"order-{number}", {"mouse": 1}, customer=f"cust-{number % 3}")
        until(as_many_as(1))

        # when everything is rebuilt twice meanwhile
        rebuilding = pool.submit(rebuild_all_twice)
        placed = 5
        while not rebuilding.done():
            place(f"order-{placed}", {"mouse": 1}, customer=f"cust-{placed % 3}")
            placed += 1
            until(as_many_as(placed - AT_ONCE))
        rebuilding.result()
        until(as_many_as(placed))
    settle()

    # then the rows are what the events give, and rebuilding them again leaves every one alone
    assert differences() == []
    before = {model: content(model) for model in read_models()}
    for group in groups(read_models()):
        assert run(group, "user:1").differences == {model: [] for model in group}
    assert {model: content(model) for model in read_models()} == before
    assert sum(row["total_orders"] for row in content(CustomerActivity)) == placed
