"""The dead-letter desk's pages: operators of a shop look, try, decide and edit."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from ecommerce.console.letters import ON_A_PAGE
from ecommerce.identity.models import Tenant
from ecommerce.messaging import desk
from ecommerce.messaging.services import service
from notifications.contracts import SendNotification
from tests.console.counting import counted
from tests.messaging.examples import restocked
from tests.messaging.letters import letter_of
from tests.web.test_dead_letters import WRONG, state, stored

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

WithScopes = Callable[..., Client]
DESK = "/console/letters"
NOTIFICATIONS = service("notifications")
MOST_QUERIES = 15


@pytest.fixture
def letter(operator: Client) -> Any:
    return stored()


@pytest.fixture
def other_tenant(operator: Client) -> Tenant:
    return Tenant.objects.create(slug="other", name="Other shop")


def text(client: Client, address: str, **query: str) -> str:
    response = client.get(address, query, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def place(letter: Any) -> str:
    return f"{letter._meta.app_label}/{letter.pk}"


def address(letter: Any, action: str = "") -> str:
    return f"{DESK}/{place(letter)}{'/' if action else ''}{action}"


def decide(client: Client, **form: Any) -> str:
    return client.post(f"{DESK}/decide", form, follow=True).content.decode()


# Who may


def test_only_operators_see_letters(with_scopes: WithScopes, letter: Any) -> None:
    for path in (DESK, f"{DESK}/confirm?decision=hold", address(letter)):
        assert with_scopes("orders:read").get(path).status_code == 403
        assert Client().get(path).status_code == 302


def test_only_operators_decide(with_scopes: WithScopes, letter: Any) -> None:
    for path in (f"{DESK}/decide", *(address(letter, each) for each in ("try", "edit", "hold"))):
        assert with_scopes("orders:read").post(path).status_code == 403
    assert state(letter) == "waiting"


def test_another_shops_letters_are_not_there(operator: Client, other_tenant: Tenant) -> None:
    theirs = stored("o9", tenant="other")

    assert "order/o9" not in text(operator, DESK)
    assert operator.get(address(theirs)).status_code == 404
    for action in ("try", "edit", "hold", "retry", "give-up"):
        assert operator.post(address(theirs, action)).status_code == 404
    assert "There is nothing to decide" in text(
        operator, f"{DESK}/confirm", decision="hold", letter=place(theirs)
    )
    decide(operator, decision="give up", letter=place(theirs))
    decide(operator, decision="give up", among="all", service="notifications")
    assert state(theirs) == "waiting"


# Looking


def test_letters_are_shown_by_cause_and_one_by_one(operator: Client, letter: Any) -> None:
    stored("o2")
    stored("o3", cause="decaf", error="Boom: other")

    shown = text(operator, DESK)
    decaf = text(operator, DESK, cause="decaf")

    assert shown.count('class="cause"') == 2
    assert [f"order/o{n}" in shown for n in (1, 2, 3)] == [True, True, True]
    assert [f"order/o{n}" in decaf for n in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"service": "notifications"}, True),
        ({"service": "orders"}, False),
        ({"handler": "notifications.send_notification"}, True),
        ({"handler": "orders.begin"}, False),
        ({"reason": "unavailable"}, True),
        ({"reason": "refused"}, False),
        ({"state": "waiting"}, True),
        ({"state": "resolved"}, False),
        ({"since": "1h"}, False),
        ({"cause": "c0ffee"}, True),
    ],
)
def test_letters_are_found_by_what_is_known_of_them(
    operator: Client, letter: Any, query: dict[str, str], found: bool
) -> None:
    assert ("order/o1" in text(operator, DESK, **query)) is found


@pytest.mark.parametrize(
    "query",
    ["service=sales", "reason=bad+luck", "state=odd", "since=2y", "after=x", "after=2026-01-01~x"],
)
def test_what_nothing_can_fit_is_not_there(operator: Client, query: str) -> None:
    assert operator.get(f"{DESK}?{query}").status_code == 404


def test_letters_of_all_services_are_one_list_page_by_page(
    operator: Client,
) -> None:
    # given more letters than a page has, of two services
    for number in range(ON_A_PAGE):
        stored(f"o{number}")
    letter_of(restocked("px", 5), "customers.note").save()

    # when the list is read to its end
    first = operator.get(DESK)
    second = operator.get(DESK, {"after": first.context["next"]})

    # then each is there once
    lines = [*first.context["lines"], *second.context["lines"]]
    assert [len(first.context["lines"]), len(second.context["lines"])] == [ON_A_PAGE, 1]
    assert {line.stream for line in lines} >= {"product/px", "order/o0", "order/o49"}
    assert len({line.place for line in lines}) == ON_A_PAGE + 1
    assert second.context["next"] == ""


def test_the_list_takes_as_many_queries_however_many_letters_there_are(
    operator: Client, letter: Any
) -> None:
    operator.get(DESK)
    with counted() as few:
        operator.get(DESK)
    for number in range(60):
        stored(f"x{number}", cause=f"cause{number % 7}")

    with counted() as many:
        operator.get(DESK)

    assert len(many) == len(few) <= MOST_QUERIES


def test_a_letters_page_takes_few_queries(operator: Client, letter: Any) -> None:
    operator.get(address(letter))
    with counted() as queries:
        operator.get(address(letter))

    assert len(queries) <= MOST_QUERIES


def test_personal_data_is_shown_to_those_who_may_read_customers(
    operator: Client, with_scopes: WithScopes, letter: Any
) -> None:
    reader = with_scopes("operations", "customers:read")

    assert WRONG not in text(operator, address(letter))
    assert WRONG not in operator.post(address(letter, "try")).content.decode()
    assert WRONG in text(reader, address(letter))
    assert WRONG in reader.post(address(letter, "try")).content.decode()


@pytest.mark.parametrize("path", [f"notifications/{uuid.UUID(int=7)}", f"sales/{uuid.UUID(int=7)}"])
def test_what_does_not_exist_is_not_found(operator: Client, path: str) -> None:
    assert operator.get(f"{DESK}/{path}").status_code == 404


# Deciding


@pytest.mark.parametrize(
    ("decision", "expected"), [("retry", "retrying"), ("hold", "held"), ("give-up", "given_up")]
)
def test_a_letter_is_decided_about_once(
    operator: Client, letter: Any, decision: str, expected: str
) -> None:
    first = operator.post(address(letter, decision), {"note": "because"})
    again = operator.post(address(letter, decision), follow=True)

    assert (first.status_code, first.headers["Location"]) == (302, address(letter))
    assert state(letter) == expected
    (line,) = desk.trail(NOTIFICATIONS, letter.pk)
    assert line.note == "because"
    assert "cannot be decided any more" in again.content.decode() or decision == "retry"


def test_an_unknown_decision_is_not_found(operator: Client, letter: Any) -> None:
    assert operator.post(address(letter, "burn")).status_code == 404
    assert operator.get(f"{DESK}/confirm?decision=burn").status_code == 404


def test_a_decision_about_many_says_first_how_many(operator: Client, letter: Any) -> None:
    other = stored("o2")
    stored("o3", cause="decaf")

    asked = text(operator, f"{DESK}/confirm", decision="retry", among="all", cause="c0ffee")
    assert "Send 2 letters out again?" in asked
    assert [state(letter), state(other)] == ["waiting", "waiting"]

    done = decide(operator, decision="retry", among="all", cause="c0ffee", rate="5", note="back")
    assert "2 letters are sent out again, 5 a second." in done
    letter.refresh_from_db()
    other.refresh_from_db()
    pause = abs((letter.due_at - other.due_at).total_seconds())
    assert (letter.state, other.state, round(pause, 1)) == ("retrying", "retrying", 0.2)


def test_chosen_letters_are_decided_about_and_no_others(operator: Client, letter: Any) -> None:
    other, third = stored("o2"), stored("o3")
    chosen = [place(letter), place(third)]

    asked = text(
        operator, f"{DESK}/confirm?{urlencode({'decision': 'hold', 'letter': chosen}, doseq=True)}"
    )
    done = decide(operator, decision="hold", letter=chosen)

    assert "Hold 2 letters?" in asked
    assert "2 letters are held." in done
    assert [state(each) for each in (letter, other, third)] == ["held", "waiting", "held"]


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({}, "Choose letters first."),
        ({"letter": "notifications/x"}, "is no letter."),
        ({"among": "all"}, "That would be all letters"),
        ({"among": "all", "state": "held"}, "That would be all letters"),
        ({"among": "all", "service": "sales"}, "There is no such service."),
        ({"among": "all", "cause": "c0ffee", "rate": "-1"}, "a rate is letters a second"),
        ({"among": "all", "cause": "c0ffee", "rate": "2000"}, "a rate is letters a second"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(
    operator: Client, letter: Any, form: dict[str, str], complaint: str
) -> None:
    assert complaint in decide(operator, decision="retry", **form)
    assert state(letter) == "waiting"


def test_a_letter_whose_handler_is_gone_is_kept(operator: Client, letter: Any) -> None:
    lost = stored("o2", handler="notifications.gone")

    said = operator.post(address(lost, "retry"), follow=True).content.decode()

    assert "restore it, or give the letter up" in said
    assert state(lost) == "waiting"


# Trying and editing


def test_a_try_shows_what_would_happen_and_changes_nothing(operator: Client, letter: Any) -> None:
    shown = operator.post(address(letter, "try"))

    assert (shown.status_code, "notifications.send_notification" in shown.content.decode()) == (
        200,
        True,
    )
    assert shown.context["result"]["calls"] == "notifications.send_notification"
    assert state(letter) == "waiting"
    assert desk.trail(NOTIFICATIONS, letter.pk) == []


def test_an_address_is_corrected_and_the_letter_sent(with_scopes: WithScopes, letter: Any) -> None:
    editor = with_scopes("operations", "customers:read")
    personal = '{"recipient": "right@example.com", "subject": "Hello", "text": "Hello"}'

    editor.post(address(letter, "edit"), {"personal": personal, "note": "a typo", "send": "yes"})

    letter.refresh_from_db()
    assert letter.state == "retrying"
    assert "right@example.com" in letter.personal
    assert [(line.action, line.note) for line in desk.trail(NOTIFICATIONS, letter.pk)] == [
        ("edit", "a typo"),
        ("retry", "a typo"),
    ]


@pytest.mark.parametrize(
    ("personal", "complaint"),
    [
        ("{", "This is no JSON object"),
        ("[]", "This is no JSON object"),
        ('{"recipient": "a@example.com"}', "missing required field"),
    ],
)
def test_content_that_does_not_fit_is_shown_again_with_what_is_wrong(
    with_scopes: WithScopes, letter: Any, personal: str, complaint: str
) -> None:
    editor = with_scopes("operations", "customers:read")

    for action in ("try", "edit"):
        answer = editor.post(address(letter, action), {"personal": personal})
        assert (answer.status_code, complaint in answer.content.decode()) == (422, True)
    assert WRONG in _fresh(letter).personal


def test_personal_data_is_not_edited_unseen(operator: Client, letter: Any) -> None:
    personal = '{"recipient": "thief@example.com", "subject": "Hello", "text": "Hello"}'

    operator.post(address(letter, "edit"), {"personal": personal})

    assert WRONG in _fresh(letter).personal


def test_the_content_of_a_call_is_not_edited(operator: Client, letter: Any) -> None:
    answer = operator.post(address(letter, "edit"), {"payload": '{"order_id": "o2"}'})

    assert (answer.status_code, "only the personal part" in answer.content.decode()) == (409, True)


def test_what_messages_and_errors_say_is_shown_as_text(operator: Client) -> None:
    message = SendNotification(
        order_id="<b>", customer_id="c", notification_id="n", channel="email",
        recipient="a@example.com", subject="<script>", text="",
    )  # fmt: skip
    odd = letter_of(message, "notifications.send_notification")
    odd.error = "<script>alert(1)</script>"
    odd.save()

    assert "<script>alert" not in text(operator, DESK) + text(operator, address(odd))


def _fresh(letter: Any) -> Any:
    letter.refresh_from_db()
    return letter
