"""What the text of an error says about why, and which errors are the same."""

from __future__ import annotations

import psycopg
import pytest

from ecommerce.messaging.errors import Retry, WiringError, describe, describe_with_place
from ecommerce.messaging.reasons import REASONS, cause_of, headline, reason_of
from tests.messaging.examples import restocked
from tests.messaging.letters import stored


def raised(error: Exception) -> str:
    """The error as it is stored: below the lines that led to it."""
    try:
        raise error
    except type(error) as caught:
        return describe_with_place(caught)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("a bug"), "attempts"),
        (Retry("the carrier does not answer"), "unavailable"),
        (psycopg.errors.CheckViolation("stock is never negative"), "refused"),
        (WiringError("no handler is named 'orders.gone'"), "unwired"),
    ],
)
def test_the_kind_of_an_error_is_a_reason(error: Exception, reason: str) -> None:
    assert reason_of(raised(error)) == reason_of(describe(error)) == reason
    assert reason in REASONS


def test_an_error_of_several_lines_is_known_by_its_first() -> None:
    assert headline(raised(ValueError("one\ntwo"))) == "ValueError: one"


def cause(error: str, product: str = "apple", handler: str = "a.note") -> str:
    return cause_of(handler, "attempts", error, stored(restocked(product, 3)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError: order 17 is late", "ValueError: order 18 is late"),
        (
            "KeyError: '0192f7c0-1c1f-7c1e-8000-2f6f2f6f2f6f'",
            "KeyError: '0192f7c0-aaaa-7c1e-8000-000000000001'",
        ),
        ("ValueError: at 2026-03-01T12:00:00Z", "ValueError: at 2026-04-02T01:00:00Z"),
    ],
)
def test_numbers_ids_and_times_make_no_difference(one: str, other: str) -> None:
    assert cause(one) == cause(other)


def test_what_the_message_says_itself_makes_no_difference() -> None:
    one = cause("NotFound: stock item apple does not exist", product="apple")
    other = cause("NotFound: stock item pear does not exist", product="pear")

    assert one == other


def test_another_handler_reason_kind_or_text_is_another_cause() -> None:
    error = "ValueError: too late"
    causes = {
        cause(error),
        cause(error, handler="a.other"),
        cause_of("a.note", "refused", error, stored(restocked("apple", 3))),
        cause("KeyError: too late"),
        cause("ValueError: too early"),
    }

    assert len(causes) == 5


def test_a_cause_stays_the_same_from_release_to_release() -> None:
    assert cause("ValueError: order 17 is late") == "1316a45de944a33c"
