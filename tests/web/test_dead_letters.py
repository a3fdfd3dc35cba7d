"""The dead-letter desk over HTTP: operators of a tenant decide about that tenant's letters."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ecommerce.identity.models import ApiToken, Tenant
from ecommerce.messaging import desk
from ecommerce.messaging.services import service
from notifications.contracts import SendNotification
from tests.messaging.letters import letter_of

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

WithToken = Callable[..., Client]
DESK = "/api/operations/dead-letters"
NOTIFICATIONS = service("notifications")
WRONG = "wrong@example.com"
NOBODY = uuid.UUID(int=7)


def stored(order: str = "o1", tenant: str = "main", **given: Any) -> Any:
    """A letter of a mail that could not be sent."""
    message = SendNotification(
        order_id=order, customer_id="c1", notification_id=f"n-{order}", channel="email",
        recipient=WRONG, subject="Hello", text="Hello",
    )  # fmt: skip
    letter: Any = letter_of(message, "notifications.send_notification", tenant=tenant)
    for name, value in (
        {"reason": "unavailable", "error": "Retry: no", "cause": "c0ffee"} | given
    ).items():
        setattr(letter, name, value)
    letter.save()
    return letter


@pytest.fixture
def letter(tenant: Tenant) -> Any:
    return stored()


@pytest.fixture
def operator(with_token: WithToken) -> Client:
    return with_token("operations")


def address(letter: Any, action: str = "") -> str:
    return f"{DESK}/notifications/{letter.pk}{'/' if action else ''}{action}"


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(path, body, content_type="application/json")


def state(letter: Any) -> str:
    letter.refresh_from_db()
    return str(letter.state)


def test_letters_are_listed_page_by_page_and_grouped_by_cause(
    operator: Client, letter: Any
) -> None:
    stored("o2")
    stored("o3", cause="decaf")

    causes = operator.get(f"{DESK}/causes").json()
    first = operator.get(f"{DESK}/notifications", {"limit": 2}).json()
    second = operator.get(f"{DESK}/notifications", {"cursor": first["next"]}).json()
    decaf = operator.get(f"{DESK}/notifications", {"cause": "decaf"}).json()

    assert [(each["cause"], each["letters"]) for each in causes] == [("c0ffee", 2), ("decaf", 1)]
    assert [len(first["items"]), len(second["items"]), second["next"]] == [2, 1, None]
    assert [item["stream"] for item in decaf["items"]] == ["order/o3"]
    assert (decaf["items"][0]["state"], decaf["items"][0]["error"]) == ("waiting", "Retry: no")


@pytest.mark.parametrize(
    ("decision", "expected"), [("retry", "retrying"), ("hold", "held"), ("give-up", "given_up")]
)
def test_a_letter_is_decided_about_once(
    operator: Client, letter: Any, decision: str, expected: str
) -> None:
    answer = post(operator, address(letter, decision), note="because")
    again = post(operator, address(letter, decision))

    assert (answer.status_code, answer.json()["state"]) == (200, expected)
    (line,) = answer.json()["trail"]
    assert (line["note"], line["actor"]) == ("because", f"token:{ApiToken.objects.get().pk}")
    assert (again.status_code, again.json()["code"]) == (409, "not-at-the-desk")
    assert state(letter) == expected


def test_letters_are_retried_by_query_at_a_rate(operator: Client, letter: Any) -> None:
    other = stored("o2", cause="decaf")

    answer = post(operator, f"{DESK}/retry", cause="c0ffee", rate=5, note="the provider is back")

    assert answer.json() == {"letters": 1}
    assert [state(letter), state(other)] == ["retrying", "waiting"]


def test_a_decision_about_everything_is_refused(operator: Client, letter: Any) -> None:
    for decision in ("retry", "hold", "give-up"):
        assert post(operator, f"{DESK}/{decision}").status_code == 422
    assert state(letter) == "waiting"


@pytest.mark.parametrize("rate", [0, -1, 1001, "fast"])
def test_a_rate_is_letters_a_second(operator: Client, letter: Any, rate: Any) -> None:
    assert post(operator, f"{DESK}/retry", cause="c0ffee", rate=rate).status_code == 422
    assert state(letter) == "waiting"


def test_another_tenants_letters_are_not_there(operator: Client, other_tenant: Tenant) -> None:
    theirs = stored(tenant="other")

    assert operator.get(f"{DESK}/causes").json() == []
    assert operator.get(f"{DESK}/notifications").json()["items"] == []
    assert operator.get(address(theirs)).status_code == 404
    for action in ("retry", "hold", "give-up", "edit", "dry-run"):
        assert post(operator, address(theirs, action)).status_code == 404
    assert post(operator, f"{DESK}/give-up", service="notifications").json() == {"letters": 0}
    assert state(theirs) == "waiting"


@pytest.mark.parametrize(
    "path", ["sales", f"notifications/{NOBODY}", "notifications/x", f"sales/{NOBODY}"]
)
def test_what_does_not_exist_is_not_found(operator: Client, path: str) -> None:
    assert operator.get(f"{DESK}/{path}").status_code == 404


def test_an_unknown_decision_is_not_found(operator: Client, letter: Any) -> None:
    assert post(operator, address(letter, "burn")).status_code == 404


def test_personal_data_is_shown_to_those_who_may_read_customers(
    operator: Client, with_token: WithToken, letter: Any
) -> None:
    reader = with_token("operations", "customers:read")

    assert WRONG not in operator.get(address(letter)).content.decode()
    assert reader.get(address(letter)).json()["personal"]["recipient"] == WRONG
    assert WRONG not in post(operator, address(letter, "dry-run")).content.decode()
    (sent,) = post(reader, address(letter, "dry-run")).json()["sent"]
    assert sent["personal"]["recipient"] == WRONG


def test_a_dry_run_of_a_call_shows_it_and_leaves_the_letter(operator: Client, letter: Any) -> None:
    answer = post(operator, address(letter, "dry-run")).json()

    assert (answer["error"], answer["calls"]) == ("", "notifications.send_notification")
    assert state(letter) == "waiting"


def test_who_may_read_customers_corrects_an_address(
    operator: Client, with_token: WithToken, letter: Any
) -> None:
    personal = {"recipient": "right@example.com", "subject": "Hello", "text": "Hello"}
    editor = with_token("operations", "customers:read")

    refused = post(operator, address(letter, "edit"), personal=personal)
    unfit = post(editor, address(letter, "edit"), personal={"recipient": "right@example.com"})
    edited = post(editor, address(letter, "edit"), personal=personal, note="a typo")

    assert [refused.status_code, unfit.status_code, edited.status_code] == [403, 422, 200]
    assert edited.json()["personal"]["recipient"] == "right@example.com"
    (line,) = desk.trail(NOTIFICATIONS, uuid.UUID(edited.json()["letterId"]))
    assert (line.action, line.note) == ("edit", "a typo")
    assert WRONG in str(line.personal_before)


def test_a_time_without_a_zone_is_refused(operator: Client) -> None:
    answer = operator.get(f"{DESK}/causes", {"since": "2026-03-01T12:00:00"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "since")
