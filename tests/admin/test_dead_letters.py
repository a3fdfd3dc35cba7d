"""The dead-letter desk in the admin: it decides through the desk, and shows what was done."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from ecommerce.identity.models import User
from ecommerce.messaging import desk
from ecommerce.messaging.desk import Selection
from ecommerce.messaging.services import service
from notifications import models as notifications
from orders import models as orders
from tests.admin.conftest import SignIn
from tests.admin.rows import make, url

pytestmark = pytest.mark.usefixtures("transactional_db")
ORDERS = service("orders")
LETTER: Any = orders.tables.dead
ACTION: Any = orders.tables.dead_action


@pytest.fixture
def letter() -> Any:
    return make(LETTER, reason="attempts", error="ValueError: a bug", cause="c0ffee")


def decide(client: Client, letters: list[Any], action: str, note: str = "") -> list[str]:
    """Fill in an action's form and send it; returns what the person is told."""
    selected = [letter.pk for letter in letters]
    sent = {"action": action, "_selected_action": selected, "token": uuid.uuid4(), "note": note}
    response: Any = client.post(url(LETTER), sent, follow=True)
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize(
    ("action", "told", "state"),
    [
        ("retry", "Retry: 1 of 1 letters.", "retrying"),
        ("hold", "Hold: 1 of 1 letters.", "held"),
        ("give_up", "Give up: 1 of 1 letters.", "given_up"),
    ],
)
def test_a_letter_is_decided_about_in_the_persons_name(
    admin_client: Client, letter: Any, action: str, told: str, state: str
) -> None:
    assert decide(admin_client, [letter], action, note="because") == [told]

    letter.refresh_from_db()
    (line,) = desk.trail(ORDERS, letter.pk)
    assert letter.state == state
    assert (line.actor, line.note) == (f"user:{User.objects.get().pk}", "because")


def test_a_letter_that_is_on_its_way_is_left_alone_and_the_person_told(
    admin_client: Client, letter: Any
) -> None:
    other = make(LETTER, 2)
    desk.give_up(Selection(service="orders", ids=(other.pk,)), actor="user:1")

    assert decide(admin_client, [letter, other], "give_up") == ["Give up: 1 of 2 letters."]


def test_a_letter_without_a_handler_is_refused_and_the_person_told(
    admin_client: Client, letter: Any
) -> None:
    LETTER.objects.update(handler="orders.gone")

    assert decide(admin_client, [letter], "retry") == [
        "Retry: no handler is named 'orders.gone': restore it, or give the letter up."
    ]


def test_the_page_of_a_letter_shows_its_trail(admin_client: Client, letter: Any) -> None:
    decide(admin_client, [letter], "hold", note="until <the carrier> answers")

    page = admin_client.get(url(LETTER, "change", letter.pk)).content.decode()

    assert "until &lt;the carrier&gt; answers" in page
    assert page.count("hold by user:") == 1


@pytest.mark.parametrize("query", ["state=held", "reason=attempts", "cause=c0ffee"])
def test_letters_are_narrowed_down_by_state_reason_and_cause(
    admin_client: Client, letter: Any, query: str
) -> None:
    make(LETTER, 2, cause="decaf")
    desk.hold(Selection(service="orders", ids=(letter.pk,)), actor="user:1")

    page: Any = admin_client.get(f"{url(LETTER)}?{query}")

    assert list(page.context_data["cl"].result_list) == [letter]


def test_who_may_only_look_cannot_decide(staff: SignIn, letter: Any) -> None:
    viewer = staff(reads_all=True)

    decide(viewer, [letter], "give_up")

    letter.refresh_from_db()
    assert letter.state == "waiting"


def test_trails_and_what_was_there_before_an_edit_are_for_those_who_may_see_them(
    admin_client: Client, staff: SignIn, letter: Any
) -> None:
    line = make(ACTION, dead_id=letter.pk, personal_before='{"street":"Secret Lane"}')
    page = url(ACTION, "change", line.pk)
    own, stranger = staff(reads_all=True), staff("other", reads_all=True)

    assert "Secret Lane" in admin_client.get(page).content.decode()
    for person in (own, stranger):
        assert "Secret Lane" not in person.get(page).content.decode()
    assert "Secret Lane" not in own.get(url(LETTER, "change", letter.pk)).content.decode()


def test_what_has_not_happened_leads_to_the_letter_that_says_why(admin_client: Client) -> None:
    # given a notification that has not gone out because a call about its order is a dead letter
    waiting = make(notifications.Notification)
    dead: Any = notifications.tables.dead
    letter = make(dead, name="notifications.SendNotification", stream="order/o1")

    def titles() -> list[str]:
        page: Any = admin_client.get(url(notifications.Notification, "change", waiting.pk))
        return [link.title for _, found in page.context_data["links"] for link in found]

    # then its page leads there, until the letter is over
    assert "Dead letters of notifications" in titles()
    desk.give_up(Selection(service="notifications", ids=(letter.pk,)), actor="user:1")
    assert "Dead letters of notifications" not in titles()
