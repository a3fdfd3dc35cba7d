"""Who sends what to whom: the page is what the code says, and the code is read rightly."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from ecommerce.messaging.flows import Flow, as_markdown, flows
from ecommerce.messaging.senders import made_by
from orders import saga

PAGE = Path(settings.BASE_DIR) / "docs" / "messages.md"


@pytest.fixture(scope="module")
def found() -> dict[str, Flow]:
    return {flow.contract.name: flow for flow in flows()}


def senders(flow: Flow) -> list[str]:
    return [sender.name for sender in flow.senders]


def test_the_page_of_messages_is_true(found: dict[str, Flow]) -> None:
    page = as_markdown(list(found.values()))
    if os.environ.get("UPDATE_SNAPSHOTS"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page, "run the tests with UPDATE_SNAPSHOTS=1 and look at it"


def test_what_a_handler_makes_in_functions_it_calls_is_found(found: dict[str, Flow]) -> None:
    # in the handler itself, in a function of its module, and in one of another module
    assert "orders.create_order" in senders(found["orders.OrderCreated"])
    assert "payments.record_charge" in senders(found["payments.PaymentProcessed"])
    assert "orders.create_order" in senders(found["inventory.ReserveInventory"])
    # passed on as a class, and wrapped to be sent later
    assert "inventory.reserve_inventory" in senders(found["inventory.StockReserved"])
    assert "shipping.record_label" in senders(found["shipping.TrackShipment"])


def test_what_a_handler_only_takes_apart_is_not_sent(found: dict[str, Flow]) -> None:
    made = made_by(saga.payment_answered)

    assert "payments.PaymentProcessed" not in made  # a case of its match
    assert {"orders.OrderPaid", "shipping.CreateShipment", "payments.RefundPayment"} <= made


def test_deadlines_schedules_and_those_who_act_for_people_are_senders(
    found: dict[str, Flow],
) -> None:
    assert senders(found["orders.ExpireOrder"]) == ["deadline orders.Fulfilment.deadline_at"]
    assert senders(found["orders.Pinged"]) == ["schedule orders.ping"]
    assert {"orders.admin", "orders.api"} <= set(senders(found["orders.CancelOrder"]))


def test_every_message_has_a_sender_and_every_command_somebody_who_takes_it(
    found: dict[str, Flow],
) -> None:
    assert [name for name, flow in found.items() if not flow.senders] == []
    commands = [flow for flow in found.values() if flow.contract.kind == "command"]
    assert [flow.contract.name for flow in commands if not flow.takers] == []


@pytest.mark.parametrize(("option", "begins", "holds"), [
    ([], "analytics.Pinged  (event)", "    to    orders.create_order  (handles)"),
    (["--markdown"], "# Messages", "| event `OrderCreated` | `orders.create_order` |"),
    (["--mermaid"], "flowchart LR", "payments -->"),
])  # fmt: skip
def test_the_command_writes_it_in_three_forms(option: list[str], begins: str, holds: str) -> None:
    out = io.StringIO()
    call_command("messages", *option, stdout=out)

    assert out.getvalue().startswith(begins)
    assert holds in out.getvalue()
