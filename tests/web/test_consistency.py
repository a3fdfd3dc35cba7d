"""Waiting for what was made a moment ago, and for nothing else."""

from __future__ import annotations

import time
import uuid

import pytest

from ecommerce.messaging.models import uuid7
from ecommerce.web import consistency
from ecommerce.web.consistency import find_fresh


class Appearing:
    """Found at the n-th question."""

    def __init__(self, at: int) -> None:
        self.at, self.asked = at, 0

    def __call__(self) -> str | None:
        self.asked += 1
        return "it" if self.asked >= self.at else None


def test_what_was_just_made_is_waited_for() -> None:
    find = Appearing(at=4)

    assert find_fresh(find, str(uuid7())) == "it"


def old_uuid7() -> str:
    milliseconds = int(time.time() * 1000) - 60_000
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62)))


@pytest.mark.parametrize(
    "public_id",
    ["cust-123", "", "\0", str(uuid.uuid4()), old_uuid7()],
    ids=["text", "empty", "nul", "random", "old"],
)
def test_an_id_that_cannot_be_new_costs_one_question(public_id: str) -> None:
    find = Appearing(at=2)

    assert find_fresh(find, public_id) is None
    assert find.asked == 1


def test_the_wait_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "WAIT_SECONDS", 0.05)

    assert find_fresh(Appearing(at=1000), str(uuid7())) is None


def test_made_up_ids_cannot_keep_every_thread_waiting() -> None:
    taken = 0
    while consistency._waiting.acquire(blocking=False):
        taken += 1
    try:
        find = Appearing(at=2)
        assert find_fresh(find, str(uuid7())) is None
        assert find.asked == 1
    finally:
        consistency._waiting.release(taken)
