"""The console's read models: what they hold, and making them again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from customers.models import OrderSummary
from customers.models import tables as customers
from ecommerce.messaging import rebuilds
from ecommerce.messaging.projections import groups, read_models
from ecommerce.messaging.rebuilder import Rebuilder
from ecommerce.messaging.services import services
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/read-models"
SUMMARY = {"model": "customers.OrderSummary"}


def shown(client: Client) -> str:
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return answer.content.decode()


def asked(client: Client, **more: str) -> Any:
    return client.post(f"{PAGE}/rebuild", SUMMARY | more)


def work() -> None:
    Rebuilder(services(), threading.Event()).look("default")


def test_every_read_model_is_listed_with_its_projections(operator: Client) -> None:
    text = shown(operator)

    for model in read_models():
        assert model.__name__ in text
    assert "customers.order_summary_from_orders" in text
    assert text.count('class="model"') == len(groups(read_models()))


def test_a_rebuild_mends_what_differs_and_a_comparison_only_counts_it(operator: Client) -> None:
    open_shop()
    place("one")
    settle()
    OrderSummary.objects.update(status="Pending")

    assert asked(operator, compare="yes").status_code == 302
    work()
    assert "1 rows differ" in shown(operator)
    assert OrderSummary.objects.get().status == "Pending"

    asked(operator)
    assert "Requested" in shown(operator)
    work()

    text = shown(operator)
    assert "Rebuilt, 1 mended" in text
    assert 'hx-trigger="load' not in text
    assert OrderSummary.objects.get().status != "Pending"


def test_a_second_one_of_the_same_is_refused_in_words(operator: Client) -> None:
    asked(operator)

    answer = operator.post(f"{PAGE}/rebuild", SUMMARY, follow=True)

    assert "Nothing was asked for" in answer.content.decode()
    assert customers.rebuild._default_manager.count() == 1


def test_how_far_one_is_can_be_seen(operator: Client) -> None:
    asked(operator)
    customers.rebuild._default_manager.update(state="running", events=300, total=1000)

    text = shown(operator)

    assert 'value="300" max="1000"' in text
    assert 'hx-trigger="load delay:1s"' in text


def test_one_that_waits_is_called_off(operator: Client) -> None:
    asked(operator)
    (row,) = customers.rebuild._default_manager.all()

    operator.post(f"{PAGE}/cancel", {"rebuild": str(row.pk), "service": "customers"})

    row.refresh_from_db()
    assert row.state == "cancelled"
    again = operator.post(
        f"{PAGE}/cancel", {"rebuild": str(row.pk), "service": "customers"}, follow=True
    )
    assert "It was over already." in again.content.decode()


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("rebuild", {"model": "customers.Customer"}),
        ("rebuild", {}),
        ("cancel", {"rebuild": "nonsense", "service": "customers"}),
        ("cancel", {"rebuild": "0193e1f0-0000-7000-8000-000000000000", "service": "customers"}),
        ("cancel", {"rebuild": "0193e1f0-0000-7000-8000-000000000000", "service": "nonsense"}),
    ],
)
def test_what_does_not_exist_is_not_found(
    address: str, fields: dict[str, str], operator: Client
) -> None:
    assert operator.post(f"{PAGE}/{address}", fields).status_code == 404


def test_who_may_not_see_the_console_changes_nothing(with_scopes: Callable[..., Client]) -> None:
    for client, status in ((with_scopes("orders:write"), 403), (Client(), 302)):
        assert client.get(PAGE).status_code == status
        assert asked(client).status_code == status
    assert not customers.rebuild._default_manager.exists()


def test_the_page_costs_the_same_however_many_rebuilds_there_were(operator: Client) -> None:
    shown(operator)
    with counted() as few:
        shown(operator)
    for _ in range(3):
        for group in groups(read_models()):
            rebuilds.run(group, "user:1", compare=True)

    with counted() as many:
        shown(operator)

    assert len(many) == len(few) <= 15
