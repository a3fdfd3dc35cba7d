"""Troubles of simulated providers: shared by all processes, counted once, over by themselves."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django.fixtures import Settings

from ecommerce import simulation
from ecommerce.messaging.database import connect
from ecommerce.simulation import UNFLUSHED, Provider
from ecommerce.values import Money
from payments.gateways import (
    DECLINED,
    TROUBLES,
    Captured,
    GatewayTimeout,
    GatewayUnavailable,
    SimulatedGateway,
)
from payments.models import SimulatedCharge
from shipping import gateways as shipping
from shipping.gateways import CarrierRefused, CarrierUnavailable, SimulatedCarrier
from shipping.models import SimulatedLabel
from tests.shipping.test_carrier import create, request

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PRICE = Money(3998, "USD")
KEY = "main/o1/charge/1"
bank, carrier = SimulatedGateway(), SimulatedCarrier()


def pass_time(seconds: float) -> None:
    with connect("default") as conn:
        conn.execute(
            "INSERT INTO messaging_clock (ahead) VALUES (make_interval(secs => %b::float8))",
            (seconds,),
        )


def charge(key: str = KEY) -> object:
    return bank.charge(key, PRICE, "card_approved")


# The card provider


def test_an_answer_that_gets_lost_has_had_its_effect_and_is_found_by_its_key() -> None:
    TROUBLES.begin("lost answers", 60, calls=1)

    with pytest.raises(GatewayTimeout):
        charge()

    assert isinstance(bank.look_up(KEY), Captured)
    assert charge() == bank.look_up(KEY)
    assert SimulatedCharge.objects.count() == 1


def test_answers_to_voids_and_refunds_get_lost_too() -> None:
    answer = charge()
    assert isinstance(answer, Captured)
    TROUBLES.begin("lost answers", 60, calls=2)

    with pytest.raises(GatewayTimeout):
        bank.refund("main/o1/refund/1", answer.transaction_id, PRICE)
    with pytest.raises(GatewayTimeout):
        bank.void("main/o2/charge/1", "main/o2/refund/1", PRICE)

    refunded = bank.refund("main/o1/refund/1", answer.transaction_id, PRICE)
    assert refunded.refund_id
    assert bank.void("main/o2/charge/1", "main/o2/refund/1", PRICE).refund_id == ""


def test_a_provider_that_is_not_there_does_nothing() -> None:
    TROUBLES.begin("unavailable", 60)

    for call in (charge, lambda: bank.look_up(KEY)):
        with pytest.raises(GatewayUnavailable):
            call()

    assert SimulatedCharge.objects.count() == 0


def test_a_card_that_was_declined_stays_declined_when_the_trouble_is_over() -> None:
    TROUBLES.begin("declining", 60)
    assert charge() == DECLINED

    TROUBLES.end("declining")

    assert charge() == DECLINED
    assert isinstance(charge("main/o2/charge/1"), Captured)


def test_a_slow_provider_takes_its_time() -> None:
    TROUBLES.begin("slow", 60, delay=0.3)
    began = time.monotonic()

    charge()

    assert time.monotonic() - began >= 0.3


# The carrier


def test_a_carrier_sells_one_label_although_its_answer_gets_lost() -> None:
    shipping.TROUBLES.begin("lost answers", 60, calls=1)

    with pytest.raises(CarrierUnavailable):
        create(request())
    shipping.TROUBLES.begin("refusing", 60)

    assert create(request()).tracking_number == SimulatedLabel.objects.get().tracking_number
    with pytest.raises(CarrierRefused):
        create(request("main/ship-o2/label"))


def test_a_carrier_that_is_not_there_sells_and_knows_nothing() -> None:
    label = create(request())
    shipping.TROUBLES.begin("unavailable", 60)

    with pytest.raises(CarrierUnavailable):
        create(request("main/ship-o2/label"))
    with pytest.raises(CarrierUnavailable):
        carrier.track(label.tracking_number)

    assert SimulatedLabel.objects.count() == 1


# All


def test_a_trouble_ends_by_itself() -> None:
    TROUBLES.begin("unavailable", 60)
    assert [each.kind for each in TROUBLES.troubles()] == ["unavailable"]

    pass_time(61)
    TROUBLES.forget()

    assert TROUBLES.troubles() == []
    assert isinstance(charge(), Captured)


def test_a_trouble_begins_anew_in_place_of_what_there_is() -> None:
    TROUBLES.begin("lost answers", 60, calls=1)
    TROUBLES.begin("lost answers", 60)

    assert [each.calls for each in TROUBLES.troubles()] == [None]


def test_another_process_sees_it_within_a_moment() -> None:
    # given a provider as another process has it, which has just looked
    elsewhere = Provider("elsewhere", "Elsewhere", TROUBLES.model, TROUBLES.kinds)
    simulation._providers.pop("elsewhere")
    assert not elsewhere.befalls("unavailable")

    TROUBLES.begin("unavailable", 60)

    deadline = time.monotonic() + 20 * simulation.KEPT_SECONDS
    while not elsewhere.befalls("unavailable"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def befallen(calls: int) -> int:
    """How many of so many calls at the same time meet with what befalls three."""
    TROUBLES.begin("lost answers", 60, calls=3)
    barrier = threading.Barrier(calls)

    def call(_: int) -> bool:
        barrier.wait()
        return TROUBLES.befalls("lost answers")

    with ThreadPoolExecutor(calls) as pool:
        return sum(pool.map(call, range(calls)))


def test_what_befalls_three_calls_befalls_three() -> None:
    assert befallen(12) == 3


def test_control_without_its_condition_it_befalls_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "TAKE", simulation.TAKE.replace("AND calls > 0", ""))

    assert befallen(12) > 3


def test_nobody_looks_in_production(settings: Settings) -> None:
    TROUBLES.begin("unavailable", 60)
    settings.PRODUCTION = True

    assert isinstance(charge(), Captured)


# Their books


def test_only_the_commit_of_the_books_does_not_wait_for_the_disk() -> None:
    ask = "SELECT current_setting('synchronous_commit')"
    with connect("default") as conn:
        conn.execute("SELECT set_config('synchronous_commit', 'on', false)")
        with conn.transaction():
            conn.execute(f"SELECT 1 FROM {UNFLUSHED}")

            assert conn.execute(ask).fetchone() == ("off",)

        assert conn.execute(ask).fetchone() == ("on",)
