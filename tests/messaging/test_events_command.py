"""`manage.py events`: what it shows, what it keeps back, what it finds, and how it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ecommerce.messaging.database import Connection
from inventory.models import StockItem
from orders.contracts import OrderReserved
from orders.models import Order
from tests.messaging.ledgers import contact, product, put, registered, restocks
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch, until, write

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def run(*args: str, ends: int = 0) -> list[str]:
    """The lines that the command writes; it must end with this exit code."""
    out = StringIO()
    try:
        call_command("events", *args, stdout=out, stderr=out)
        code, said = 0, ""
    except CommandError as error:
        code, said = error.returncode, f"{error}\n"
    assert code == ends, out.getvalue() + said
    return (out.getvalue() + said).splitlines()


def exported(*args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("export", *args)]


@pytest.fixture
def shop() -> None:
    open_shop()
    place("one")
    settle()


@pytest.mark.usefixtures("shop")
def test_the_newest_events_of_all_services_are_listed_by_time() -> None:
    lines = run("list", "--stream", "order/one", "--limit", "6")

    names = {line.split("  ")[4] for line in lines}
    assert names >= {"orders.OrderShipped", "shipping.ShipmentCreated"}
    assert "orders.OrderCreated" not in names
    times = [line.split("  ")[0] for line in lines]
    assert times == sorted(times)


@pytest.mark.usefixtures("shop")
def test_a_list_is_narrowed_down() -> None:
    now = datetime.now(UTC)
    (line,) = run("list", "--service", "orders", "--name", "orders.OrderPaid")
    assert "  main  order/one  3  orders.OrderPaid  by user:cust-1" in line

    assert len(run("list", "--service", "orders", "--stream", "order/one")) == 4
    assert len(run("list", "--since", (now - timedelta(hours=1)).isoformat())) > 10
    for nothing in (
        ["--tenant", "other"],
        ["--stream", "order/two"],
        ["--until", (now - timedelta(hours=1)).isoformat()],
        ["--since", (now + timedelta(hours=1)).isoformat()],
    ):
        assert run("list", *nothing, ends=1) == ["There is no such event."]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (["--name", "orders.OrderLost"], "no service declares a message named 'orders.OrderLost'."),
        (["--since", "yesterday"], "'yesterday' is no instant: write 2026-03-01T12:00:00Z."),
        (["--until", "7"], "'7' is no instant: write 2026-03-01T12:00:00Z."),
    ],
)
def test_a_question_that_makes_no_sense_is_an_error(question: list[str], answer: str) -> None:
    assert run("list", *question, ends=2) == [answer]


@pytest.mark.parametrize("wrong", [["--limit", "0"], ["--limit", "-3"], ["--service", "sales"]])
def test_so_is_an_option_that_makes_none(wrong: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("events", "list", *wrong)


def test_an_export_has_every_event_as_it_is_stored_without_personal_data() -> None:
    put(registered(), contact("Ada"))
    put(product(), *restocks(3))

    lines = exported()

    assert [line["name"] for line in lines] == [
        "inventory.ProductCreated",
        *["inventory.InventoryRestocked"] * 3,
        "customers.CustomerRegistered",
        "customers.ContactSaved",
    ]
    *_, last = lines
    assert last["payload"] == {"customer_id": "ada"}
    assert (last["service"], last["stream"], last["version"], last["contract"]) == (
        "customers",
        "customer/ada",
        2,
        1,
    )
    assert "Ada" not in json.dumps(lines)
    assert datetime.fromisoformat(last["recordedAt"]).tzinfo is not None


def test_personal_data_is_exported_when_it_is_asked_for() -> None:
    put(registered(), contact("Ada"))

    *_, last = exported("--personal", "--service", "customers")

    assert last["person"] == "ada"
    assert last["personal"]["email"] == "Ada@example.com"


def test_an_export_can_be_narrowed_down_and_may_find_nothing() -> None:
    put(product(), *restocks(3))
    put(product(), tenant="other")

    assert [line["tenant"] for line in exported("--tenant", "other")] == ["other"]
    assert len(exported("--name", "inventory.InventoryRestocked")) == 3
    assert run("export", "--service", "orders", ends=1) == ["There is no such event."]


def test_events_are_followed_as_they_are_committed() -> None:
    put(product(), *restocks(1))
    said: list[list[str]] = []
    following = threading.Thread(
        target=lambda: said.append(run("follow", "--limit", "2")), daemon=True
    )
    following.start()

    until(lambda: write("orders", OrderReserved(order_id="one")) and not following.is_alive())

    (lines,) = said
    assert [line.split("  ")[4] for line in lines] == ["orders.OrderReserved"] * 2


def test_following_from_the_past_ends_after_so_many() -> None:
    put(product(), *restocks(3))

    lines = run("follow", "--since", "2020-01-01T00:00:00Z", "--limit", "4")

    assert [line.split("  ")[3] for line in lines] == ["1", "2", "3", "4"]


@pytest.mark.usefixtures("shop")
def test_logs_that_are_as_they_must_be_are_verified() -> None:
    assert run("verify") == [
        f"{label}: as it must be"
        for label in (
            "orders", "inventory", "payments", "shipping", "notifications", "customers", "analytics",
        )
    ]  # fmt: skip


@pytest.mark.usefixtures("shop")
def test_a_row_that_is_not_the_fold_of_its_stream_is_found_without_quoting_it() -> None:
    Order.objects.update(shipping_address={"street": "Elsewhere"}, status="Paid")
    StockItem.objects.filter(product_id="desk").delete()

    assert run("verify", "--service", "orders", ends=1) == [
        "orders: orders.Order main/one is not what its events give in status, shipping_address",
        "1 things are wrong.",
    ]
    assert run("verify", "--service", "inventory", ends=1)[0] == (
        "inventory: inventory.StockItem main/desk has events and no row"
    )


INSERT = """INSERT INTO {log} SELECT (jsonb_populate_record(l, jsonb_build_object(
            'position', nextval('inventory_log_position_seq')) || %b::text::jsonb)).*
            FROM {log} l WHERE version = 4 RETURNING position"""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 6}, "main product/mouse has 5 events with versions from 1 to 6"),
        ({"version": 0}, "main product/mouse has 5 events with versions from 0 to 4"),
        ({"version": 5, "payload": '{"product_id":"mouse"}'}, "position N cannot be read: inventory.InventoryRestocked version 1: Object missing required field `quantity`"),
        ({"version": 5, "contract": 2}, "position N cannot be read: inventory.InventoryRestocked version 2 has no reader: this code knows 1 to 1; a newer version needs newer code"),
        ({"version": 5, "name": "inventory.Unknown"}, "position N cannot be read: no service declares a message named 'inventory.Unknown'"),
        ({"version": None, "payload": "{}"}, "position N cannot be read: inventory.InventoryRestocked version 1: Object missing required field `product_id`"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_log_is_found(change: dict[str, Any], problem: str) -> None:
    put(product(), *restocks(3))
    ((position,),) = fetch("inventory", INSERT, json.dumps(change))

    found = run("verify", "--service", "inventory", ends=1)

    assert f"inventory: {problem}".replace("position N", f"position {position}") in found


def test_verifying_reads_every_event_whatever_snapshots_say(
    connection: Callable[[], Connection],
) -> None:
    connection().execute(
        """INSERT INTO inventory_snapshot (tenant, stream, version, shape, state, taken_at)
           VALUES ('main', 'product/mouse', 1, 'x', '{}', now())"""
    )
    open_shop()

    assert run("verify", "--service", "inventory") == ["inventory: as it must be"]
