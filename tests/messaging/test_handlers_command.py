"""`manage.py handlers` tells who handles what, and forgets what was removed, unless work waits for it."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from ecommerce.messaging.worker import Worker
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True)

GONE = "analytics.gone"
STORED = f"SELECT name FROM {{handler}} WHERE name = '{GONE}'"


@pytest.fixture
def removed() -> None:
    """A handler that has run here and that the code no longer has."""
    Worker(["analytics"])
    fetch("analytics", f"INSERT INTO {{handler}} VALUES ('{GONE}', 'handles') RETURNING 1")


def test_all_handlers_are_listed_with_what_they_take(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("handlers")

    words = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert ["inventory.reserve_inventory", "handles", "inventory.ReserveInventory"] in words
    assert ["payments.charge_card", "performs", "payments.ChargeCard"] in words
    assert any(kind == "projects" and "orders.OrderCreated" in taken for _, kind, taken in words)


def test_a_removed_handler_is_forgotten_and_workers_begin_again(
    removed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("handlers", "--retire", GONE)

    assert capsys.readouterr().out == f"{GONE} is forgotten\n"
    assert fetch("analytics", STORED) == []
    Worker(["analytics"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("inventory.reserve_inventory", "is not a handler that has been removed"),
        ("nowhere.at_all", "is not a handler that has been removed"),
        ("analytics.never_was", "no handler named analytics.never_was has run here"),
    ],
)
def test_what_was_not_removed_cannot_be_forgotten(name: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("handlers", "--retire", name)


def test_a_handler_that_deliveries_wait_for_is_kept(removed: None) -> None:
    fetch(
        "analytics",
        f"""INSERT INTO {{parked}} (handler, source, position, message_id, tenant, stream, partition,
                                    attempts, due_at, error, parked_at)
            VALUES ('{GONE}', 'orders', 1, gen_random_uuid(), 'main', 'order/1', 0, 1, now(), '', now())
            RETURNING 1""",
    )

    with pytest.raises(CommandError, match="1 rows of analytics_parked still wait for"):
        call_command("handlers", "--retire", GONE)
    assert fetch("analytics", STORED) == [(GONE,)]
