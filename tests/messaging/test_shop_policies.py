"""What the shop's own policies change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django.fixtures import Settings

from customers.contracts import SaveContact
from ecommerce.messaging import policies
from ecommerce.messaging.bus import execute
from ecommerce.messaging.database import connect
from ecommerce.messaging.effects import Effects
from ecommerce.messaging.services import service
from tests.messaging.calls import Caller, Gateway, pay
from tests.messaging.conftest import Clock
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import Puppet, counts, fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def production(settings: Settings) -> Iterator[None]:
    """What policies take for the shop that people buy in."""
    settings.MESSAGING_ENVIRONMENT = "production"
    policies.forget()
    yield
    policies.forget()


def waits(caller: Caller, clock: Clock) -> list[int]:
    """Try a call until it is given up; the seconds between its attempts."""
    left = "SELECT ceil(extract(epoch FROM due_at - messaging_now()))::int FROM {effect}"
    found = []
    while caller.perform() and (waiting := fetch("payments", left)):
        found.append(waiting[0][0])
        clock.advance(found[-1])
    return found


@pytest.mark.parametrize(
    ("amount", "expected"), [(99_999, [2, 4, 8]), (100_000, [2, 4, 8, 15, 30, 60, 120])]
)
def test_a_large_payment_is_tried_for_four_minutes(
    amount: int, expected: list[int], caller: Callable[..., Caller], gateway: Gateway, clock: Clock
) -> None:
    pay(method="card_unavailable", amount=amount)

    assert waits(caller("one"), clock) == expected
    trail = {99_999: "large-payments no, no policy", 100_000: "large-payments"}[amount]
    query = 'SELECT DISTINCT policy FROM "{delivery}" WHERE handler = %b'
    assert fetch("payments", query, "payments.charge_card") == [(trail,)]


def mails_at_once(puppet: Callable[..., Puppet], *topics: str) -> int:
    """How many of ten confirmations two workers start to send at once."""
    open_shop()
    contact = SaveContact(customer_id="cust-1", name="Ada", email="ada@example.com")
    execute(contact, tenant="main", actor="user:1")
    settle()
    for number in range(10):
        place(f"order-{number}")
    puppet("notifications").work()
    assert counts("notifications")["effect"] == 10
    mail, took = service("notifications"), frozenset(topics) or None
    with ThreadPoolExecutor(1) as pool, connect("default") as conn:
        workers = [Effects(mail, n, pool, threading.Event(), took) for n in ("one", "two")]
        return sum(len(worker._claim(conn, 8)) for worker in workers)


def test_in_production_eight_mails_are_sent_at_once(
    production: None, puppet: Callable[..., Puppet]
) -> None:
    assert mails_at_once(puppet) == 8


def test_in_production_mail_has_a_topic_of_its_own(
    production: None, puppet: Callable[..., Puppet]
) -> None:
    assert mails_at_once(puppet, "default") == 0


def test_in_development_the_mailbox_takes_any_number(puppet: Callable[..., Puppet]) -> None:
    assert mails_at_once(puppet) == 10
