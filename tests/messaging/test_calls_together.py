"""Calls that one handler takes together: mails, which all go over one connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from django.core.exceptions import ImproperlyConfigured

from ecommerce.messaging.claims import CLAIM_SECONDS
from ecommerce.messaging.context import Context
from ecommerce.messaging.effects import MOST_TOGETHER
from ecommerce.messaging.errors import WiringError
from ecommerce.messaging.registry import Call, handles, performs
from notifications.contracts import RecordNotification, SendNotification
from notifications.gateways import ADAPTERS, Answer, Mailbox, Posting
from notifications.models import Mail
from tests.messaging.calls import Caller, intend
from tests.messaging.conftest import Clock
from tests.messaging.steps import counts, fetch, in_service

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Watched(Mailbox):
    """A mailbox that remembers how many it was given at a time; the test says what happens then."""

    given: list[int]
    meanwhile: Callable[[], object]

    def send(self, postings: Sequence[Posting]) -> list[Answer]:
        self.given.append(len(postings))
        self.meanwhile()
        return super().send(postings)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr(Watched, "given", [], raising=False)
    monkeypatch.setattr(Watched, "meanwhile", lambda _: None, raising=False)
    monkeypatch.setitem(ADAPTERS["email"], "mailbox", Watched)
    return Watched


@pytest.fixture
def caller(caller: Callable[..., Caller]) -> Callable[[str], Caller]:
    """A worker that has seen how fast the mailbox is."""

    def make(name: str) -> Caller:
        made = caller(name, label="notifications")
        made.effects._slowest = 0.001
        return made

    return make


def recorded() -> list[tuple[str, int]]:
    """The outcomes of calls, each with its attempt."""
    query = "SELECT outcome, attempt FROM \"{delivery}\" WHERE handler LIKE '%%send%%' ORDER BY id"
    return [(outcome, attempt) for outcome, attempt in fetch("notifications", query)]


def kept() -> list[str]:
    return sorted(Mail.objects.values_list("key", flat=True))


def test_many_intents_are_one_call(caller: Callable[[str], Caller], box: type[Watched]) -> None:
    intend("ada", "ben", "cleo")

    caller("one").perform()

    assert box.given == [3]
    assert kept() == ["main/n-ada", "main/n-ben", "main/n-cleo"]
    assert recorded() == [("done", 1)] * 3
    assert counts("notifications")["effect"] == 0


def test_one_that_fails_costs_the_others_nothing_and_goes_alone_from_then_on(
    caller: Callable[[str], Caller], box: type[Watched], clock: Clock
) -> None:
    intend("ada", "down", "bounce")
    worker = caller("one")

    worker.perform()
    assert (box.given, kept()) == ([3], ["main/n-ada"])
    assert counts("notifications")["effect"] == 1

    intend("ben", "cleo")
    clock.advance(5)
    worker.perform()
    assert sorted(box.given[1:]) == [1, 2]
    assert kept() == ["main/n-ada", "main/n-ben", "main/n-cleo"]


def test_when_the_whole_call_fails_each_is_tried_by_itself(
    caller: Callable[[str], Caller],
    box: type[Watched],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise ImproperlyConfigured("no such mailbox")

    intend("ada", "ben", "cleo")
    worker = caller("one")
    with monkeypatch.context() as broken:
        broken.setattr(box, "meanwhile", refuse)
        worker.perform()
    query = 'SELECT DISTINCT attempts, error LIKE %b FROM "{effect}"'
    assert fetch("notifications", query, "%ImproperlyConfigured: no such mailbox") == [(1, True)]

    clock.advance(5)
    worker.perform()

    assert box.given == [3, 1, 1, 1]
    assert recorded() == [("failed", 1)] * 3 + [("done", 2)] * 3


def test_what_its_worker_did_not_survive_goes_alone(
    caller: Callable[[str], Caller], box: type[Watched], clock: Clock
) -> None:
    intend("ada", "ben")
    lost = caller("lost")
    assert len(lost.effects._claim(lost.conn, 2)) == 2
    clock.advance(CLAIM_SECONDS + 1)

    caller("heir").perform()

    assert box.given == [1, 1]
    assert kept() == ["main/n-ada", "main/n-ben"]


def test_a_slow_provider_is_given_as_many_as_a_claim_leaves_time_for(
    caller: Callable[[str], Caller], box: type[Watched]
) -> None:
    intend(*(f"person{number}" for number in range(8)))
    worker = caller("one")
    worker.effects._slowest = CLAIM_SECONDS / 4 / 3

    worker.perform()

    assert sorted(box.given) == [2, 3, 3]


def test_a_new_worker_begins_with_one_and_goes_on_with_many(
    caller: Callable[[str], Caller], box: type[Watched]
) -> None:
    worker = caller("one")
    worker.effects._slowest = type(worker.effects)._slowest
    intend("ada", "ben")
    worker.perform()
    assert box.given == [1, 1]

    intend(*(f"person{number}" for number in range(MOST_TOGETHER + 1)))
    while counts("notifications")["effect"]:
        worker.perform()

    assert max(box.given) > 10
    assert len(kept()) == MOST_TOGETHER + 3


def test_too_few_answers_fail_all_calls(
    caller: Callable[[str], Caller], box: type[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box, "send", lambda self, postings: super(box, self).send(postings)[:-1])
    intend("ada", "ben")

    caller("one").perform()

    assert recorded() == [("failed", 1)] * 2
    assert counts("notifications")["effect"] == 2


@pytest.mark.parametrize("declare", [handles, performs])
def test_only_effects_take_a_list_and_nothing_else_with_it(declare: Callable[..., object]) -> None:
    @in_service("notifications")
    def several(calls: list[Call[SendNotification]], context: Context) -> list[RecordNotification]:
        return []

    with pytest.raises(WiringError, match=r"notifications\.several: only an effect takes a list"):
        declare(several)
