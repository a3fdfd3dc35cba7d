"""What a message causes stays in its tenant, whatever a handler does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ecommerce.messaging import rows
from ecommerce.messaging.bus import execute
from ecommerce.messaging.consistency import Sight, wait_for
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.registry import handles
from inventory.contracts import InventoryRestocked, RestockInventory
from inventory.models import StockItem
from tests.messaging.examples import create_product, reserve
from tests.messaging.steps import Puppet, fetch, in_service

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

RESTOCK = RestockInventory(product_id="mouse", quantity=5)


@pytest.fixture
def moving() -> None:
    """A handler that gives the rows it is given to another tenant."""

    @handles(own=lambda event: event.product_id)
    @in_service("inventory")
    def give_away(event: InventoryRestocked, own: StockItem) -> None:
        own.tenant = "other"


def owners() -> list[str]:
    return sorted(StockItem.objects.filter(product_id="mouse").values_list("tenant", flat=True))


def test_a_handler_cannot_give_a_row_to_another_tenant(
    moving: None, puppet: Callable[..., Puppet]
) -> None:
    create_product("mouse")
    execute(RESTOCK, tenant="main", actor="test")

    puppet("inventory").work()

    assert owners() == ["main"]
    ((handler, error),) = fetch("inventory", 'SELECT handler, error FROM "{parked}"')
    assert handler == "inventory.give_away"
    assert "to another tenant" in error


def test_without_the_refusal_the_row_would_be_gone(
    moving: None, puppet: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_refuse_moves", lambda model, changed: None)
    create_product("mouse")
    execute(RESTOCK, tenant="main", actor="test")

    puppet("inventory").work()

    assert owners() == ["other"]


def test_a_handler_cannot_make_a_row_of_another_tenant(puppet: Callable[..., Puppet]) -> None:
    @handles
    @in_service("inventory")
    def found_abroad(event: InventoryRestocked) -> StockItem:
        return StockItem(tenant="other", product_id="keyboard", warehouse="main")

    create_product("mouse")
    execute(RESTOCK, tenant="main", actor="test")

    puppet("inventory").work()

    ((handler, error),) = fetch("inventory", 'SELECT handler, error FROM "{parked}"')
    assert handler == "inventory.found_abroad"
    assert "belongs to 'other', the message to 'main'" in error
    assert StockItem.objects.filter(tenant="other").count() == 0


def test_a_handler_is_given_the_rows_of_its_messages_tenant(
    puppet: Callable[..., Puppet],
) -> None:
    for tenant, stock in (("main", 1), ("other", 2)):
        create_product("mouse", stock=stock, tenant=tenant)

    execute(RESTOCK, tenant="other", actor="test")

    found = dict(StockItem.objects.values_list("tenant", "on_hand"))
    assert found == {"main": 1, "other": 7}


def test_all_that_a_message_causes_has_its_tenant(puppet: Callable[..., Puppet]) -> None:
    # given the same order in two shops
    for tenant in ("main", "other"):
        create_product("mouse", stock=5, tenant=tenant)
        execute(reserve("o1"), tenant=tenant, actor=tenant)

    puppet("inventory").work()

    # then nothing that one of them began is the other's
    mixed = """SELECT name FROM "{log}" WHERE correlation_id IN (
        SELECT correlation_id FROM "{log}" GROUP BY 1 HAVING count(DISTINCT tenant) > 1)"""
    assert fetch("inventory", mixed) == []
    begun = fetch(
        "inventory", 'SELECT DISTINCT tenant, actor FROM "{log}" WHERE actor <> %b', "test"
    )
    assert sorted(begun) == [("main", "main"), ("other", "other")]


def test_a_place_in_another_tenants_log_cannot_be_waited_for() -> None:
    create_product("mouse")
    token = execute(RESTOCK, tenant="main", actor="test").token

    with pytest.raises(Invalid, match="not a consistency token"):
        wait_for("inventory", token, tenant="other", timeout=0)
    assert wait_for("inventory", token, tenant="main", timeout=0) is not Sight.SEEN
