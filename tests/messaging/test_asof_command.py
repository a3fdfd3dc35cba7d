"""Read models as they were, and `manage.py asof` for these and for aggregates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from analytics.models import DailySales
from customers.models import CustomerActivity, OrderSummary
from ecommerce.messaging.bus import execute
from ecommerce.messaging.models import ReadModel
from ecommerce.messaging.projections import read_models
from ecommerce.messaging.travel import read_model_as_of
from inventory import projections
from inventory.contracts import RestockInventory
from inventory.models import InventoryLevel
from orders.contracts import CancelOrder
from tests.messaging.examples import create_product
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import fetch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
Tables = dict[type[ReadModel], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _quick_delivery(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0


def now() -> datetime:
    ((instant,),) = fetch("orders", "SELECT messaging_now()")
    assert isinstance(instant, datetime)
    return instant


def plain(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """What rows hold, but for their ids, in one order."""
    values = [
        {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name != "id"}
        for row in rows
    ]
    return sorted(values, key=str)


def tables() -> Tables:
    """All read models of the shop as they are."""
    found = {model: model._default_manager.filter(tenant="main") for model in read_models()}
    return {model: plain(rows) for model, rows in found.items()}


def story() -> Iterator[tuple[datetime, Tables]]:
    """What happens in a shop, with the tables at each rest."""
    open_shop()
    create_product("mouse", 100, tenant="other")
    settle()
    yield now(), tables()
    place("one", {"mouse": 2, "desk": 1})
    place("theirs", tenant="other")
    settle()
    yield now(), tables()
    place("two", card="card_declined", customer="cust-2")
    settle()
    yield now(), tables()
    place("three")
    execute(CancelOrder(order_id="three"), tenant="main", actor="user:1")
    settle()
    yield now(), tables()


def test_at_every_rest_each_read_model_is_as_it_was() -> None:
    seen = list(story())

    for instant, then in seen:
        for model, rows in then.items():
            past = read_model_as_of(model, "main", instant)
            assert plain(past.rows.values()) == rows
            assert past.missed == 0
    assert [len(then[OrderSummary]) for _, then in seen] == [0, 1, 2, 3]


def test_one_row_is_found_by_its_key_whatever_it_consists_of() -> None:
    *_, (instant, then) = story()
    (row,) = then[DailySales]
    key = f"{row['day']}/{row['currency']}"

    past = read_model_as_of(DailySales, "main", instant, key)

    assert plain(past.rows.values()) == [row]
    assert list(past.rows) == [key]
    assert read_model_as_of(DailySales, "main", instant, "2020-01-01/USD").rows == {}


def test_a_tenant_sees_its_own_past_only() -> None:
    *_, (instant, _) = story()

    assert list(read_model_as_of(OrderSummary, "other", instant).rows) == ["theirs"]
    assert read_model_as_of(CustomerActivity, "nobody", instant).rows == {}


def test_what_is_parked_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    open_shop()
    with monkeypatch.context() as broken:
        broken.delattr(projections, "InventoryRestocked")
        execute(RestockInventory(product_id="mouse", quantity=50), tenant="main", actor="user:1")
        settle()

    past = read_model_as_of(InventoryLevel, "main", now(), "mouse")

    assert past.rows["mouse"].quantity == 100
    assert past.missed == 1


def run(*args: str, ends: int = 0) -> str:
    out = StringIO()
    try:
        call_command("asof", *args, stdout=out, stderr=out)
        code = 0
    except CommandError as error:
        code = error.returncode
        out.write(str(error))
    assert code == ends, out.getvalue()
    return out.getvalue()


@pytest.fixture
def moments() -> list[str]:
    """Instants at which the shop had come to rest."""
    return [instant.isoformat() for instant, _ in story()]


def test_an_aggregate_is_shown_at_a_version_an_instant_and_now(moments: list[str]) -> None:
    def status(*args: str) -> str:
        found: str = json.loads(run("orders.Order", "one", *args))["status"]
        return found

    assert [status("--version", str(version)) for version in (1, 2, 3)] == [
        "Pending",
        "Reserved",
        "Paid",
    ]
    assert status("--at", moments[1]) == status() == "Delivered"


def test_a_read_model_is_shown_at_an_instant_and_now(moments: list[str]) -> None:
    def orders(*args: str) -> int:
        found: int = json.loads(run("customers.CustomerActivity", "cust-1", *args))["total_orders"]
        return found

    assert [orders("--at", moments[1]), orders()] == [1, 1]
    assert json.loads(run("customers.OrderSummary", "two", "--at", moments[2]))["status"] == (
        "Cancelled"
    )


def test_personal_data_is_shown_when_it_is_asked_for(moments: list[str]) -> None:
    for model in ("orders.Order", "customers.OrderSummary"):
        assert "Harbor Street" not in run(model, "one")
        assert "Harbor Street" in run(model, "one", "--personal")


def test_two_moments_are_compared(moments: list[str]) -> None:
    assert run("orders.Order", "one", "--version", "1", "--diff", "3").splitlines() == [
        'status: "Pending" → "Paid"',
        'payment_id: "" → "pay-one"',
    ]
    lines = run("inventory.InventoryLevel", "--at", moments[0], "--diff", moments[1]).splitlines()
    assert "mouse quantity: 100 → 98" in lines
    assert run("orders.Order", "one", "--at", moments[1], "--diff", moments[2]) == ""


def test_what_did_not_exist_then_has_an_exit_code_of_its_own(moments: list[str]) -> None:
    early = (datetime.now(UTC) - timedelta(days=1)).isoformat()

    for args in (
        ["orders.Order", "one", "--at", early],
        ["orders.Order", "one", "--version", "99"],
        ["orders.Order", "none"],
        ["orders.Order", "one", "--tenant", "other"],
        ["customers.OrderSummary", "two", "--at", moments[1]],
        ["customers.OrderSummary", "one", "--at", early, "--diff", moments[1]],
    ):
        assert run(*args, ends=1).endswith("then.")


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["orders.Lost", "one"], "There is no orders.Lost. There are: "),
        (["orders.Fulfilment", "one"], "There is no orders.Fulfilment. There are: "),
        (["orders.Order"], "Which orders.Order? Name its key."),
        (["orders.Order", "one", "--at", "yesterday"], "Write a version such as 3, or an instant"),
        (["customers.OrderSummary", "one", "--version", "3"], "A read model has no versions"),
    ],
)
def test_a_question_that_makes_no_sense_is_an_error(args: list[str], answer: str) -> None:
    assert answer in run(*args, ends=2)
