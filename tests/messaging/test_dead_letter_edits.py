"""A dry run changes nothing and calls nobody; an edit changes the letter and keeps what was there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecommerce.messaging import desk, rehearsal
from ecommerce.messaging.database import connect
from ecommerce.messaging.errors import Conflict, Invalid
from ecommerce.messaging.queues import DeadLetter
from ecommerce.messaging.registry import handlers, handles
from ecommerce.messaging.services import service
from inventory.contracts import AdjustInventory, InventoryRestocked
from inventory.models import StockItem
from notifications.contracts import SendNotification
from tests.messaging.calls import Caller, Gateway, pay
from tests.messaging.conftest import Clock
from tests.messaging.examples import create_product, restocked
from tests.messaging.letters import (
    Faults,
    bury,
    failing_handler,
    letter_of,
    letters,
    noted,
    one,
    send_out,
)
from tests.messaging.steps import Puppet, counts, in_service, write, written

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ANALYTICS = service("analytics")
Make = Callable[..., Puppet]


@pytest.fixture
def faults() -> Faults:
    return failing_handler()


@pytest.fixture
def worker(puppet: Make, faults: Faults) -> Puppet:
    return puppet("analytics", "worker")


@pytest.fixture
def spoiled(puppet: Make) -> DeadLetter:
    """A letter of a handler that changes a row, sends a message, and died of a bug."""
    bug = [True]

    @handles(retry=())
    @in_service("inventory")
    def count(event: InventoryRestocked, stock: StockItem) -> AdjustInventory:
        if bug:
            raise ValueError("a bug")
        stock.reserved += event.quantity
        return AdjustInventory(product_id=event.product_id, change=1, reason="counted")

    create_product("apple", stock=10)  # which is an InventoryRestocked, too
    puppet("inventory").work()
    bug.clear()
    (letter,) = letters("inventory", handler="inventory.count")
    return letter


def test_a_dry_run_shows_rows_and_messages_and_changes_nothing(spoiled: DeadLetter) -> None:
    before = (counts("inventory"), StockItem.objects.values().get())

    found = rehearsal.rehearse(service("inventory"), spoiled)

    (change,) = found.changes
    assert (change.row, change.before, change.after) == (
        "inventory.StockItem main/apple", {"reserved": 0}, {"reserved": 10},
    )  # fmt: skip
    assert [(sent.name, sent.effect) for sent in found.sent] == [("inventory.AdjustInventory", "")]
    assert found.error == ""
    assert (counts("inventory"), StockItem.objects.values().get()) == before


def test_a_dry_run_tells_what_the_handler_raises(worker: Puppet, faults: Faults) -> None:
    (letter,) = bury(worker, faults, 13)

    found = rehearsal.rehearse(ANALYTICS, letter)

    assert found.error == "ValueError: cannot note 13 of a"
    assert (found.changes, found.sent) == ([], [])


def test_a_dry_run_tells_what_the_database_refuses(spoiled: DeadLetter) -> None:
    rehearsal.edited(spoiled, {"product_id": "apple", "quantity": 100})

    found = rehearsal.rehearse(service("inventory"), spoiled)

    assert found.error.startswith("CheckViolation")
    assert StockItem.objects.get().reserved == 0


def test_a_dry_run_does_not_wait_long_for_a_row_that_somebody_holds(spoiled: DeadLetter) -> None:
    with connect("default") as conn, conn.transaction():
        conn.execute("SELECT 1 FROM inventory_stockitem FOR UPDATE")

        found = rehearsal.rehearse(service("inventory"), spoiled)

    assert found.error.startswith("LockNotAvailable")


def test_a_dry_run_of_a_call_shows_it_and_does_not_make_it(
    caller: Callable[[str], Caller], gateway: Gateway, clock: Clock
) -> None:
    pay(method="card_unavailable")
    one_caller = caller("one")
    for _ in range(4):
        one_caller.perform()
        clock.advance(9)
    (letter,) = letters("payments")
    calls, before = gateway.calls, counts("payments")

    found = rehearsal.rehearse(service("payments"), letter)

    assert found.calls == "payments.charge_card"
    assert [sent.name for sent in found.sent] == ["payments.ChargeCard"]
    assert (gateway.calls, counts("payments")) == (calls, before)


def test_an_edited_letter_is_sent_with_its_new_content_and_its_trail_keeps_the_old(
    worker: Puppet, faults: Faults
) -> None:
    (letter,) = bury(worker, faults, 13)

    rehearsal.edit(
        ANALYTICS, letter.pk, payload={"product_id": "a", "quantity": 12}, actor="user:1", note="!"
    )
    assert rehearsal.rehearse(ANALYTICS, letters()[0]).error == ""
    desk.retry(one(letter), actor="user:1")
    send_out()
    worker.hold()
    worker.retry()

    assert noted() == [("a", 12)]
    (edit,) = [each for each in desk.trail(ANALYTICS, letter.pk) if each.action == "edit"]
    assert (edit.actor, edit.note) == ("user:1", "!")
    assert edit.payload_before == '{"product_id":"a","quantity":13}'
    # and the log is as it was
    assert [each.quantity for each in written("inventory")] == [13]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"product_id": "a"}, "missing required field `quantity`"),
        ({"product_id": "a", "quantity": "many"}, "Expected `int`"),
        ({"product_id": "a", "quantity": 1, "more": 1}, "unknown field `more`"),
        ({"product_id": "b", "quantity": 1}, "the letter is of product/a"),
    ],
)
def test_content_that_the_contract_or_the_stream_does_not_allow_is_refused(
    worker: Puppet, faults: Faults, payload: dict[str, Any], says: str
) -> None:
    (letter,) = bury(worker, faults, 13)

    with pytest.raises(Invalid, match=says):
        rehearsal.edit(ANALYTICS, letter.pk, payload=payload, actor="user:1")

    assert letters()[0].payload == letter.payload
    assert len(desk.trail(ANALYTICS, letter.pk)) == 1


def test_an_unreadable_letter_can_be_made_readable(worker: Puppet, faults: Faults) -> None:
    (position,) = write("inventory", restocked("a", 1))
    with connect("default") as conn:
        conn.execute("SET session_replication_role = replica")  # or the log's trigger refuses
        conn.execute(f"UPDATE inventory_log SET contract = 99 WHERE position = {position}")
    worker.work()
    (letter,) = letters(handler="analytics.note")
    assert letter.reason == "unreadable"

    rehearsal.edit(ANALYTICS, letter.pk, payload={"product_id": "a", "quantity": 1}, actor="user:1")
    desk.retry(one(letter), actor="user:1")
    send_out()
    worker.hold()
    worker.retry()

    assert noted() == [("a", 1)]


def test_a_letter_that_is_on_its_way_or_over_is_not_edited(worker: Puppet, faults: Faults) -> None:
    (letter,) = bury(worker, faults, 13)
    desk.retry(one(letter), actor="user:1")

    with pytest.raises(Conflict, match="the letter is retrying"):
        rehearsal.edit(ANALYTICS, letter.pk, payload={}, actor="user:1")


def test_what_a_projection_is_told_cannot_be_edited() -> None:
    projection = next(each for each in handlers("customers") if each.kind == "projects")

    with pytest.raises(Conflict, match="a projection follows the log"):
        rehearsal.edited(letter_of(restocked("a", 1), projection.name), {})


def test_of_a_call_only_the_personal_part_can_be_edited() -> None:
    message = SendNotification(
        order_id="o1", customer_id="c1", notification_id="n1", channel="email",
        recipient="wrong@example.com", subject="Hello", text="Hello",
    )  # fmt: skip
    letter = letter_of(message, "notifications.send_notification")

    with pytest.raises(Conflict, match="only the personal part"):
        rehearsal.edited(letter, payload={"order_id": "o1"})
    with pytest.raises(Invalid, match="give it apart"):
        rehearsal.edited(
            letter_of(message, "notifications.record_notification"),
            payload={"recipient": "x@example.com"},
        )
    personal = {"recipient": "right@example.com", "subject": "Hello", "text": "Hello", "html": ""}
    rehearsal.edited(letter, personal=personal)

    assert "right@example.com" in (letter.personal or "")
    assert letter.payload == letter_of(message, letter.handler).payload
