"""The first policy that fits a message decides, and what it decides happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import uuid7
from ecommerce.messaging.policies import (
    Policy,
    Subject,
    between,
    check_policies,
    decide,
    explain,
    worth,
)
from ecommerce.messaging.registry import handles
from ecommerce.values import Money
from inventory.contracts import InventoryRestocked
from orders.contracts import CancelOrder
from payments.contracts import ChargeCard, ProcessPayment
from tests.messaging.calls import Caller, Gateway, pay
from tests.messaging.conftest import Clock
from tests.messaging.examples import restocked
from tests.messaging.steps import Puppet, counts, fetch, in_service, write

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Declare = Callable[..., None]


def charge(amount: int = 1999, currency: str = "USD") -> ChargeCard:
    return ChargeCard(
        order_id="o1", attempt=1, key="k", amount=Money(amount, currency), method="card_approved"
    )


def decided(message: Message | None = None, tenant: str = "main", at: datetime = NOON) -> str:
    """The name of the policy that a call to the gateway falls under."""
    policy = decide("payments.ChargeCard", tenant, at, lambda: message or charge()).policy
    return policy.name if policy else ""


def raising(subject: Subject) -> bool:
    raise ValueError(f"no idea about {subject.message.order_id}")  # type: ignore[attr-defined]


# Deciding


def test_the_first_that_fits_decides(declare: Declare) -> None:
    declare(
        Policy(name="others", messages=(CancelOrder,)),
        Policy(name="charges", messages=(CancelOrder, ChargeCard)),
        Policy(name="everything"),
    )

    assert decided() == "charges"
    assert decide("orders.OrderCreated", "main", NOON, charge).policy is not None


def test_without_policies_and_where_none_fits_nothing_is_decided(declare: Declare) -> None:
    declare()
    assert decided() == ""
    declare(Policy(name="others", tags={"mail"}))
    assert decided() == ""


@pytest.mark.parametrize(
    ("policy", "fits"),
    [
        (Policy(name="p", tenants={"main"}), True),
        (Policy(name="p", tenants={"other"}), False),
        (Policy(name="p", environments={"staging"}), True),
        (Policy(name="p", environments={"production"}), False),
        (Policy(name="p", messages=(ChargeCard,)), True),
        (Policy(name="p", messages=(ProcessPayment,)), False),
        (Policy(name="p", tags={"money", "other"}), True),
        (Policy(name="p", tags={"mail"}), False),
        (Policy(name="p", tags={"money"}, tenants={"other"}), False),
        (Policy(name="p", where=worth(Money(1999, "USD"))), True),
        (Policy(name="p", where=worth(Money(2000, "USD"), Money(1, "EUR"))), False),
        (Policy(name="p", where=between(time(11), time(13))), True),
        (Policy(name="p", where=between(time(22), time(12))), False),
        (Policy(name="p", where=between(time(22), time(12, 1))), True),
        (Policy(name="p", where=between(time(6), time(8), "America/Chicago")), True),
        (Policy(name="p", where=lambda subject: subject.at > NOON), False),
    ],
    ids=lambda value: "" if isinstance(value, Policy) else str(value),
)
def test_a_policy_looks_at_what_it_names(
    policy: Policy, fits: bool, declare: Declare, settings: Settings
) -> None:
    settings.MESSAGING_ENVIRONMENT = "staging"
    declare(policy)

    assert decided() == ("p" if fits else "")


def test_the_content_is_asked_for_only_where_a_policy_looks_at_it(declare: Declare) -> None:
    declare(
        Policy(name="large", where=worth(Money(1, "USD")), messages=(ProcessPayment,)),
        Policy(name="rest"),
    )

    def read() -> Message:
        raise AssertionError("nobody asked")

    policy = decide("payments.ChargeCard", "main", NOON, read).policy
    assert policy is not None
    assert policy.name == "rest"


def test_a_question_that_raises_is_reported_once_and_passed_over(
    declare: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    declare(Policy(name="broken", where=raising), Policy(name="next"))

    with caplog.at_level(logging.ERROR):
        assert [decided(), decided()] == ["next", "next"]

    # then the log says which and what, and nothing of the message
    (record,) = caplog.records
    assert record.getMessage().startswith("policy broken raises ValueError on payments.ChargeCard")
    assert "o1" not in record.getMessage()


def test_a_decision_can_be_explained_step_by_step(declare: Declare) -> None:
    declare(
        Policy(name="mail", tags={"mail"}),
        Policy(name="broken", where=raising),
        Policy(name="large", where=worth(Money(5000, "USD"))),
        Policy(name="charges", messages=(ChargeCard,)),
        Policy(name="never reached"),
    )

    trail = [
        (tried.policy.name, tried.passed_over)
        for tried in explain("payments.ChargeCard", "main", NOON, charge)
    ]

    assert trail == [
        ("mail", "the message is tagged money"),
        ("broken", "its question raises ValueError: no idea about o1"),
        ("large", "its question says no"),
        ("charges", None),
    ]


@pytest.mark.parametrize(
    ("policies", "mistake"),
    [
        ((Policy(name="a"), Policy(name="a")), "the policy 'a' is declared twice"),
        ((Policy(name=""),), "needs a name of 1 to 40 characters"),
        ((Policy(name="a" * 41),), "needs a name of 1 to 40 characters"),
        ((Policy(name="a", concurrency=0),), "would let nothing run"),
        ((Policy(name="a", retry=(1, 0)),), "must wait more than 0 seconds"),
        ((Policy(name="a", topic="x,y"),), "needs a topic without commas"),
        ((Policy(name="a", messages=(Message,)),), "Message has no contract"),
        ((Policy(name="a", messages=(CancelOrder,), concurrency=2),), "which only calls have"),
        ((Policy(name="a", messages=(CancelOrder,), topic="slow"),), "which only calls have"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_list_that_cannot_be_meant_is_found_at_start(
    policies: tuple[Policy, ...], mistake: str, declare: Declare
) -> None:
    declare(*policies)

    (error,) = check_policies()
    assert error.id == "messaging.E021"
    assert mistake in error.msg


def test_a_list_that_does_not_exist_is_found_at_start(declare: Declare, settings: Settings) -> None:
    declare()
    settings.MESSAGING_POLICIES = "tests.messaging.declaring.NOTHING"

    (error,) = check_policies()
    assert "MESSAGING_POLICIES is 'tests.messaging.declaring.NOTHING'" in error.msg


def test_a_topic_that_no_policy_has_is_found_at_start(declare: Declare, settings: Settings) -> None:
    declare(Policy(name="mail", topic="slow"))
    settings.WORKER_TOPICS = ["slow", "default", "typo"]

    (error,) = check_policies()
    assert (error.id, error.msg) == ("messaging.E022", "WORKER_TOPICS names ['typo'].")


def test_the_shops_own_list_is_in_order() -> None:
    assert check_policies() == []


# What it decides, happens


def attempts(label: str, handler: str) -> list[Any]:
    query = 'SELECT attempt, outcome, policy FROM "{delivery}" WHERE handler = %b ORDER BY id'
    return fetch(label, query, handler)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_calls_are_tried_again_as_their_policy_says(
    caller: Callable[..., Caller], gateway: Gateway, clock: Clock, declare: Declare
) -> None:
    declare(
        Policy(name="patient", tags={"money"}, where=worth(Money(5000, "USD")), retry=(5, 60)),
        Policy(name="hasty", tags={"money"}, retry=()),
    )
    pay("small", "card_unavailable", amount=1999)
    worker = caller("one")

    worker.perform()
    assert attempts("payments", "payments.charge_card") == [(1, "failed", "patient no, hasty")]
    assert (counts("payments")["effect"], counts("payments")["dead"]) == (0, 1)

    pay("large", "card_unavailable", amount=5000)
    assert worker.perform() == 1
    clock.advance(4)
    assert worker.perform() == 0
    clock.advance(2)
    assert worker.perform() == 1
    clock.advance(59)
    assert worker.perform() == 0
    clock.advance(2)
    assert worker.perform() == 1

    assert attempts("payments", "payments.charge_card")[1:] == [
        (1, "failed", "patient"),
        (2, "failed", "patient"),
        (3, "failed", "patient"),
    ]
    assert (counts("payments")["effect"], counts("payments")["dead"]) == (0, 2)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_deliveries_are_tried_again_as_their_policy_says(
    puppet: Callable[..., Puppet], clock: Clock, declare: Declare
) -> None:
    declare(Policy(name="twice", tenants={"main"}, messages=(InventoryRestocked,), retry=(5,)))

    @handles
    @in_service("analytics")
    def note(event: InventoryRestocked) -> None:
        raise ValueError("no")

    write("inventory", restocked("a", 1))
    write("inventory", restocked("a", 1), tenant="other")
    worker = puppet("analytics")
    worker.work()
    clock.advance(6)
    worker.hold()
    worker.retry()

    assert attempts("analytics", "analytics.note") == [
        (1, "failed", "twice"),
        (1, "failed", None),
        (2, "failed", "twice"),
    ]
    assert fetch("analytics", 'SELECT tenant, attempts FROM "{dead}"') == [("main", 2)]
    assert fetch("analytics", 'SELECT tenant, attempts FROM "{parked}"') == [("other", 1)]


# Asking


def ask(*arguments: str) -> str:
    out = StringIO()
    call_command("policies", *arguments, stdout=out)
    return out.getvalue()


def test_policies_are_listed_in_order(declare: Declare) -> None:
    declare(
        Policy(name="patient", tags={"money"}, tenants={"main"}, where=raising, retry=(5, 0.5)),
        Policy(name="mail", tags={"mail"}, concurrency=8, topic="slow"),
        Policy(name="hopeless", messages=(CancelOrder,), retry=()),
    )

    assert ask("list").splitlines() == [
        "1. patient: topic default, tried again after 5, 0.5 s",
        "   for tenant main, tag money, a question of its own to each message",
        "   such as payments.ChargeCard, payments.RefundCharge, payments.VoidCharge",
        "2. mail: topic slow, at most 8 calls at once",
        "   for tag mail",
        "   such as notifications.SendNotification",
        "3. hopeless: topic default, never tried again",
        "   for message CancelOrder",
        "   such as orders.CancelOrder",
    ]
    declare()
    assert ask("list") == "There are no policies: handlers decide.\n"


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_message_is_explained_with_its_hops(
    caller: Callable[..., Caller], gateway: Gateway, declare: Declare
) -> None:
    declare(
        Policy(name="mail", tags={"mail"}),
        Policy(name="large", where=worth(Money(1000, "USD")), retry=(3,)),
    )
    pay("one", "card_unavailable")
    ((waiting,),) = fetch("payments", 'SELECT message_id FROM "{effect}"')

    # when the call has failed once
    caller("worker").perform()

    # then it is told which policies were tried
    first, *trail, hop = ask("explain", str(waiting)).splitlines()
    assert first == "payments.ChargeCard of main, order/one, in payments_effect"
    assert trail == [
        "  mail: the message is tagged money",
        "  large: fits, and decides",
        "topic default, tried again after 3 s",
    ]
    assert hop.endswith("payments.charge_card, attempt 1: failed under large")


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize(
    ("last", "decided"),
    [(Policy(name="money", tags={"money"}), "money"), (Policy(name="mail", tags={"mail"}), "no policy")],
)  # fmt: skip
def test_of_a_call_that_was_made_the_hop_tells_how_it_was_decided(
    caller: Callable[..., Caller],
    gateway: Gateway,
    declare: Declare,
    last: Policy,
    decided: str,
) -> None:
    def broken(subject: Subject) -> bool:
        raise ValueError("no idea about o1")

    huge = worth(Money(100_000, "USD"))
    declare(Policy(name="broken", where=broken), Policy(name="huge", where=huge), last)
    pay()
    ((made,),) = fetch("payments", 'SELECT message_id FROM "{effect}"')
    caller("worker").perform()
    declare()

    first, hop = ask("explain", str(made)).splitlines()
    assert first == "The message is no longer stored; its deliveries are."
    trail = f"broken raised ValueError, huge no, {decided}"
    assert hop.endswith(f"payments.charge_card, attempt 1: done under {trail}")


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_where_no_policy_fits_it_says_so_and_an_unknown_id_is_refused(declare: Declare) -> None:
    declare()
    write("inventory", restocked("a", 1))
    ((known,),) = fetch("inventory", 'SELECT message_id FROM "{log}"')

    assert "No policy fits: its handler decides." in ask("explain", str(known))
    with pytest.raises(CommandError, match="There is no message"):
        ask("explain", str(uuid7()))
    with pytest.raises(CommandError, match="'x' is not the id of a message"):
        ask("explain", "x")
