"""`manage.py deadletters`: the same desk, for who has a shell."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ecommerce.messaging import desk
from ecommerce.messaging.services import service
from notifications.contracts import SendNotification
from tests.messaging.letters import Faults, bury, letter_of, letters, states, trail
from tests.messaging.steps import Puppet

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
NOBODY = uuid.UUID(int=7)


@pytest.fixture
def mail() -> Any:
    message = SendNotification(
        order_id="o1", customer_id="c1", notification_id="n1", channel="email",
        recipient="wrong@example.com", subject="Hello", text="Hello",
    )  # fmt: skip
    letter: Any = letter_of(message, "notifications.send_notification")
    letter.save()
    return letter


def deadletters(*arguments: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("deadletters", *(str(each) for each in arguments), stdout=out, **options)
    return out.getvalue()


def test_without_letters_it_says_so(transactional_db: None) -> None:
    assert deadletters() == "There are no dead letters.\n"


def test_letters_are_grouped_by_cause_and_listed(worker: Puppet, faults: Faults) -> None:
    first, second = bury(worker, faults, 13, 14)

    assert f"{first.cause}      2  attempts        analytics.note" in deadletters()
    listed = deadletters("list", "--cause", first.cause)
    assert str(first.pk) in listed
    assert str(second.pk) in listed
    assert "ValueError: cannot note 13 of a" in listed
    assert deadletters("list", "--reason", "refused") == ""


def test_a_decision_has_to_be_confirmed(worker: Puppet, faults: Faults) -> None:
    bury(worker, faults, 13)

    with pytest.raises(CommandError, match=r"Give up 1 letter\? Say --yes"):
        deadletters("give-up", "--service", "analytics")

    assert states() == ["waiting"]


@pytest.mark.parametrize(
    ("action", "state"), [("retry", "retrying"), ("hold", "held"), ("give-up", "given_up")]
)
def test_letters_are_decided_about_by_id_or_by_query(
    worker: Puppet, faults: Faults, action: str, state: str
) -> None:
    first, _ = bury(worker, faults, 13, 14)

    deadletters(action, first.pk, "--yes", "--note", "because")
    told = deadletters(action, "--handler", "analytics.note", "--since", "1h", "--yes")

    assert told.endswith(": 1 letter\n")
    assert states() == [state, state]
    (_, (action, actor)) = trail(first)
    assert actor.startswith("shell:")


def test_a_dry_run_shows_what_a_retry_would_do_and_decides_nothing(
    worker: Puppet, faults: Faults
) -> None:
    bury(worker, faults, 13, 14)
    faults.quantities.remove(14)

    told = deadletters("retry", "--service", "analytics", "--dry-run")

    assert "it would fail: ValueError: cannot note 13 of a" in told
    assert 'it would send inventory.AdjustInventory {"product_id":"a","change":14' in told
    assert states() == ["waiting", "waiting"]


def test_a_letter_is_shown_without_what_is_personal_unless_asked_for(mail: Any) -> None:
    assert "wrong@example.com" not in deadletters("show", mail.pk)
    assert "wrong@example.com" not in deadletters("retry", mail.pk, "--dry-run")
    assert "wrong@example.com" in deadletters("show", mail.pk, "--show-personal")


def test_a_letter_is_edited_from_a_file(mail: Any, tmp_path: Path) -> None:
    file = tmp_path / "personal.json"
    file.write_text('{"recipient": "right@example.com", "subject": "Hello", "text": "Hello"}')

    told = deadletters("edit", mail.pk, "--personal", f"@{file}", "--dry-run", "--show-personal")
    assert "it would call notifications.send_notification with" in told
    assert "right@example.com" in told
    assert "wrong@example.com" in letters("notifications")[0].personal  # type: ignore[operator]

    deadletters("edit", mail.pk, "--personal", f"@{file}", "--yes", "--note", "a typo")
    assert "right@example.com" in letters("notifications")[0].personal  # type: ignore[operator]
    (line,) = desk.trail(service("notifications"), mail.pk)
    assert (line.action, line.note) == ("edit", "a typo")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--service", "sales"], "there is no service 'sales'"),
        (["show"], "Name a letter by its id"),
        (["show", NOBODY], "There is no dead letter"),
        (["retry", NOBODY, "--yes"], "There is no dead letter"),
        (["retry", "--rate", "0"], "--rate is letters a second"),
        (["list", "--since", "yesterday"], "--since takes"),
        (["list", "--since", "2026-03-01T12:00:00"], "--since takes"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(
    transactional_db: None, arguments: list[Any], says: str
) -> None:
    with pytest.raises(CommandError, match=says):
        deadletters(*arguments)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "Say what to put into it"),
        (["--personal", "{"], "--personal: "),
        (["--personal", "@/no/such/file"], "--personal: "),
        (["--personal", "{}"], "payload: "),
        (["--payload", "{}"], "only the personal part"),
    ],
)
def test_content_that_cannot_be_meant_is_refused(mail: Any, content: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        deadletters("edit", mail.pk, *content, "--yes")

    assert "wrong@example.com" in letters("notifications")[0].personal  # type: ignore[operator]
