"""A repeated request gets the first one's answer; nothing runs twice for one key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from ecommerce.messaging import idempotency, upkeep
from ecommerce.messaging.bus import IdempotencyRequest, Outcome, Response, execute
from ecommerce.messaging.database import Connection
from ecommerce.messaging.errors import Conflict, Invalid
from ecommerce.messaging.services import service
from inventory.contracts import RestockInventory
from inventory.models import Reservation
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product, reserve
from tests.messaging.steps import PATIENCE, Altered, counts, fetch, until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

DAY = 24 * 3600
CREATED = Response(201, {"Location": "/reservations/1"}, '{"id": "1"}')


def request(
    key: str = "k", fingerprint: str = "body", caller: str = "user:1"
) -> IdempotencyRequest:
    return IdempotencyRequest(caller, "POST /reservations", key, fingerprint)


def run(
    order_id: str,
    asked: IdempotencyRequest,
    respond: Callable[[Outcome], Response] = lambda _: CREATED,
    tenant: str = "main",
) -> Outcome:
    return execute(
        reserve(order_id), tenant=tenant, actor="user:1", idempotency=asked, respond=respond
    )


def orders() -> list[str]:
    return list(Reservation.objects.order_by("id").values_list("order_id", flat=True))


def test_a_repeated_request_gets_the_same_answer_and_runs_nothing() -> None:
    first = run("o1", request())
    again = run("o2", request())

    assert (first.response, first.replayed) == (CREATED, False)
    assert (again.response, again.replayed) == (CREATED, True)
    assert again.messages == [] == again.rows
    assert orders() == ["o1"]


def test_a_key_that_was_used_for_something_else_is_refused() -> None:
    run("o1", request())

    with pytest.raises(Invalid, match="used for another request") as refusal:
        run("o2", request(fingerprint="another body"))

    assert (refusal.value.status, refusal.value.code) == (422, "idempotency-key-reused")
    assert orders() == ["o1"]


def test_a_key_counts_for_its_tenant_caller_and_route_only() -> None:
    run("o1", request())
    run("o2", request(caller="user:2"))
    run("o3", request(), tenant="other")
    run("o4", request(key="another"))
    run("o5", IdempotencyRequest("user:1", "POST /elsewhere", "k", "body"))

    assert orders() == ["o1", "o2", "o3", "o4", "o5"]


def test_a_refused_command_leaves_its_key_free() -> None:
    restock = RestockInventory(product_id="mouse", quantity=0)
    create_product("mouse")
    with pytest.raises(Invalid):
        execute(restock, tenant="main", actor="t", idempotency=request(), respond=lambda _: CREATED)

    assert run("o1", request()).replayed is False


def test_an_answer_is_kept_for_a_day(clock: Clock) -> None:
    run("o1", request())
    clock.advance(DAY - 60)
    assert run("o2", request()).replayed

    clock.advance(61)
    assert not run("o3", request()).replayed
    assert run("o4", request()).replayed
    assert orders() == ["o1", "o3"]


def test_after_that_day_nothing_is_left_of_it(
    clock: Clock, connection: Callable[[], Connection]
) -> None:
    run("o1", request())
    conn = connection()

    def kept_after(seconds: float) -> int:
        clock.advance(seconds)
        upkeep.begin_and_forget(conn, [service("inventory")])
        return counts("inventory")["idempotency"]

    assert kept_after(DAY - 60) == 1
    assert kept_after(61) == 0


def test_an_answer_about_a_person_is_stored_as_personal_data() -> None:
    asked = IdempotencyRequest("user:1", "POST /x", "k", "body", person="cust-123")
    run("o1", asked)

    stored = fetch("inventory", 'SELECT body, personal, person FROM "{idempotency}"')
    assert stored == [(None, CREATED.body, "cust-123")]
    assert run("o2", asked).response == CREATED


# Two at once


def two_at_once() -> tuple[Outcome, Outcome]:
    """A second request begins while the first one has run and has not committed.

    What the second raises is raised here, and the first commits all the same.
    """
    answering, go_on = threading.Event(), threading.Event()

    def answer_slowly(outcome: Outcome) -> Response:
        answering.set()
        assert go_on.wait(PATIENCE)
        return CREATED

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, "o1", request(), answer_slowly)
        assert answering.wait(PATIENCE)
        second = pool.submit(run, "o2", request())
        until(second.done)
        go_on.set()
        return first.result(), second.result()


def test_of_two_requests_at_once_the_second_is_told_to_ask_again() -> None:
    with pytest.raises(Conflict, match="still running") as refusal:
        two_at_once()

    assert (refusal.value.status, refusal.value.code) == (409, "idempotency-key-in-use")
    assert orders() == ["o1"]
    assert run("o2", request()).replayed


def test_control_without_the_lock_both_run_and_the_constraint_lets_one_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = idempotency.look_up

    def without_lock(conn: Connection, *args: Any) -> Any:
        lock = "pg_try_advisory_xact_lock(hashtextextended(%b::text, 8112))"
        unlocked = Altered(conn, {lock: "%b::text IS NOT NULL"})
        return look_up(unlocked, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(idempotency, "look_up", without_lock)

    first, second = two_at_once()

    assert (first.replayed, second.replayed) == (True, False)
    assert orders() == ["o2"]


def test_control_without_lock_and_look_up_the_constraint_is_the_last_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "look_up", lambda *_: None)

    with pytest.raises(psycopg.errors.UniqueViolation, match="inventory_answered_once"):
        two_at_once()

    assert orders() == ["o2"]
