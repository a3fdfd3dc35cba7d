"""The mailbox: what customers were told, as they got it, for those who may read it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from customers.contracts import SaveContact
from ecommerce.messaging.bus import execute
from notifications.queries import notifications
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/mailbox"
MAIL = f"{PAGE}/one-order_confirmation-email"


@pytest.fixture
def told(transactional_db: None) -> None:
    """A customer with an address who was told about an order."""
    open_shop()
    contact = SaveContact(customer_id="cust-1", name="Robin Carter", email="robin@example.test")
    execute(contact, tenant="main", actor="user:cust-1")
    settle()
    place("one")
    settle()


@pytest.fixture
def trusted(with_scopes: Callable[..., Client]) -> Client:
    return with_scopes("operations", "customers:read")


def shown(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def test_notifications_are_listed_newest_first(trusted: Client, told: None) -> None:
    text = shown(trusted, PAGE)

    assert text.index("payment_receipt-email") < text.index("order_confirmation-email")
    assert "robin@example.test" in text


def test_they_are_found_by_their_order(trusted: Client, told: None) -> None:
    place("two")
    settle()

    assert "/console/orders/two" not in shown(trusted, PAGE, q="one")
    assert "/console/orders/one" in shown(trusted, PAGE, q="one")
    assert "Nobody was told anything about this order" in shown(trusted, PAGE, q="three")


def test_a_long_list_is_read_page_by_page(
    trusted: Client, told: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecommerce.console.pages.mailbox.ON_A_PAGE", 1)

    first = shown(trusted, PAGE)
    (cursor,) = re.findall(r'rel="next" href="\?after=([^"]+)"', first)
    second = shown(trusted, PAGE, after=cursor)

    assert ids(first) != ids(second)
    assert len(ids(first)) == len(ids(second)) == 1
    assert trusted.get(PAGE, {"after": "nonsense"}).status_code == 404


def ids(text: str) -> list[str]:
    return re.findall(r'href="/console/mailbox/([^"]+)"', text)


def test_an_e_mail_is_shown_in_a_frame_that_can_do_nothing(trusted: Client, told: None) -> None:
    page = trusted.get(MAIL)
    body = trusted.get(f"{MAIL}/body")

    assert f'sandbox="" src="{MAIL}/body"' in page.content.decode()
    assert "frame-src 'self'" in page.headers["Content-Security-Policy"]
    assert "Robin Carter" in body.content.decode()
    policy = body.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert policy.endswith("sandbox")
    assert body.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_control_other_pages_may_not_be_framed(trusted: Client, told: None) -> None:
    page = trusted.get(PAGE)

    assert page.headers["X-Frame-Options"] == "DENY"
    assert "frame-src" not in page.headers["Content-Security-Policy"]


def test_to_whom_and_what_is_for_those_who_may_read_customers(operator: Client, told: None) -> None:
    for text in (shown(operator, PAGE), shown(operator, MAIL)):
        assert "robin@example.test" not in text
        assert "Robin" not in text
        assert "callers who may read customers" in text
    assert operator.get(f"{MAIL}/body").status_code == 404


def test_another_shop_sees_none_of_it(with_scopes: Callable[..., Client], told: None) -> None:
    stranger = with_scopes("operations", "customers:read", tenant="other")

    assert "Nothing was sent yet" in shown(stranger, PAGE)
    assert [stranger.get(each).status_code for each in (MAIL, f"{MAIL}/body")] == [404, 404]


def test_what_was_never_written_says_why(trusted: Client) -> None:
    open_shop()
    place("one", customer="somebody")
    settle()
    (first, *_) = notifications("main", order_id="one")

    text = shown(trusted, f"{PAGE}/{first.notification_id}")

    assert "It was never written" in text


def test_the_pages_cost_the_same_however_much_there_is(trusted: Client, told: None) -> None:
    few = [statements(trusted, each) for each in (PAGE, MAIL)]
    for number in range(5):
        place(f"order-{number}")
    settle()

    assert [statements(trusted, each) for each in (PAGE, MAIL)] == few
    assert max(few) <= 15


def statements(client: Client, address: str) -> int:
    client.get(address)
    with counted() as sent:
        client.get(address)
    return len(sent)
