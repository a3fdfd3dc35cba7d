"""What the simulated carrier promises, and what shipping makes of its answers."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Retry
from ecommerce.messaging.registry import Call
from ecommerce.values import Address, Money
from shipping.contracts import (
    BuyLabel,
    Parcel,
    ParcelLine,
    RecordLabel,
    RecordLabelRefused,
    RecordTracking,
    ServiceLevel,
    TrackShipment,
)
from shipping.gateways import (
    CarrierError,
    CarrierRefused,
    CarrierUnavailable,
    Label,
    LabelRequest,
    SimulatedCarrier,
    Whereabouts,
    carrier,
)
from shipping.handlers import buy_label, track_shipment
from shipping.models import Shipment, SimulatedLabel
from shipping.queries import INVARIANTS

SHIPPED = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HOME = Address("1 Main Street", "Springfield", "IL", "62701", "US")

pytestmark = pytest.mark.django_db(transaction=True)


def request(
    key: str = "main/ship-o1/label",
    level: ServiceLevel = "Standard",
    address: Address | None = HOME,
) -> LabelRequest:
    return LabelRequest(
        key=key,
        reference=key.removesuffix("/label"),
        service_level=level,
        parcels=(Parcel("ship-o1-1", (ParcelLine("1", "prod-456", 2),)),),
        address=address,
        shipped_at=SHIPPED,
    )


def create(wanted: LabelRequest) -> Label:
    """Buy one label. Raises what the carrier answers in its place."""
    (answer,) = SimulatedCarrier().create([wanted])
    if isinstance(answer, CarrierError):
        raise answer
    return answer


def in_city(city: str) -> Address:
    return msgspec.structs.replace(HOME, city=city)


@pytest.mark.parametrize(
    ("level", "cost", "arrives"),
    [
        ("Standard", 495, date(2026, 3, 6)),
        ("Express", 1295, date(2026, 3, 4)),
        ("Overnight", 2495, date(2026, 3, 3)),
    ],
)
def test_a_faster_service_costs_more(level: ServiceLevel, cost: int, arrives: date) -> None:
    label = create(request(level=level))

    assert label.carrier == "SwiftParcel"
    assert label.cost == Money(cost, "USD")
    assert label.estimated_delivery == arrives
    assert label.label_url == f"https://labels.swiftparcel.example/{label.tracking_number}.pdf"


def test_goods_to_be_collected_cost_nothing_and_need_no_label() -> None:
    label = create(request(address=None))

    assert (label.carrier, label.cost) == ("Warehouse collection", Money(0, "USD"))
    assert label.label_url == ""
    assert label.estimated_delivery == date(2026, 3, 3)


def test_a_retry_gets_the_same_label_even_on_another_day() -> None:
    first = create(request())

    again = create(msgspec.structs.replace(request(), shipped_at=SHIPPED + timedelta(days=2)))

    assert again == first
    assert SimulatedLabel.objects.count() == 1


def test_every_key_has_a_tracking_number_of_its_own() -> None:
    numbers = {
        create(request(key=f"{tenant}/ship-{n}/label")).tracking_number
        for tenant in ("main", "other")
        for n in range(20)
    }

    assert len(numbers) == 40
    assert all(len(n) == 19 and n.startswith("SP") and n[2:].isdecimal() for n in numbers)


def test_many_buyers_with_one_key_get_one_label() -> None:
    buyers = 8
    start = threading.Barrier(buyers)
    bought: list[str] = []

    def buy() -> None:
        start.wait()
        bought.append(create(request()).tracking_number)
        connection.close()

    threads = [threading.Thread(target=buy) for _ in range(buyers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(bought) == buyers
    assert len(set(bought)) == 1
    assert SimulatedLabel.objects.count() == 1


def test_labels_that_are_bought_together_are_answered_one_by_one() -> None:
    nowhere = msgspec.structs.replace(HOME, zip_code="00000")
    requests = [
        request(key="main/b/label"),
        request(key="main/refused/label", address=nowhere),
        request(key="main/a/label", level="Express"),
        request(key="main/late/label", address=in_city("Timeout")),
        request(key="main/b/label"),
    ]

    b, refused, a, late, again = SimulatedCarrier().create(requests)

    assert (a, b) == (create(requests[2]), create(requests[0]))
    assert again == b
    assert isinstance(refused, CarrierRefused)
    assert isinstance(late, CarrierUnavailable)
    assert SimulatedLabel.objects.count() == 2


def test_an_address_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CarrierRefused, match="zip code 00000"):
        create(request(address=msgspec.structs.replace(HOME, zip_code="00000")))

    assert not SimulatedLabel.objects.exists()


def test_a_flaky_carrier_works_the_third_time() -> None:
    flaky = request(address=in_city("Flaky"))

    for _ in range(2):
        with pytest.raises(CarrierUnavailable):
            create(flaky)
        assert not SimulatedLabel.objects.exists()
    label = create(flaky)

    assert SimulatedLabel.objects.get().tracking_number == label.tracking_number


def test_a_carrier_that_times_out_never_sells() -> None:
    for _ in range(5):
        with pytest.raises(CarrierUnavailable):
            create(request(address=in_city("Timeout")))

    assert not SimulatedLabel.objects.exists()


def test_a_lost_answer_is_looked_up_by_its_key() -> None:
    lost = request(address=in_city("Lost Answer"))
    with pytest.raises(CarrierUnavailable):
        create(lost)
    sold = SimulatedLabel.objects.get()

    label = create(lost)

    assert label.tracking_number == sold.tracking_number
    assert SimulatedLabel.objects.count() == 1


def test_goods_arrive_after_the_set_time(settings: Settings) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 90
    label = create(request())

    found = SimulatedCarrier().track(label.tracking_number)

    arrival = SHIPPED + timedelta(seconds=90)
    assert found == Whereabouts(status="Delivered", at=arrival, location="Springfield")
    assert SimulatedCarrier().track(label.tracking_number) == found


def test_goods_on_a_detour_arrive_at_the_second_question() -> None:
    number = create(request(address=in_city("Detour"))).tracking_number

    answers = [SimulatedCarrier().track(number).status for _ in range(3)]

    assert answers == ["InTransit", "Delivered", "Delivered"]


def test_goods_that_cannot_be_handed_over_are_reported_as_an_exception() -> None:
    number = create(request(address=in_city("Nowhere"))).tracking_number

    assert SimulatedCarrier().track(number).status == "Exception"


def test_an_unknown_tracking_number_is_refused() -> None:
    with pytest.raises(CarrierRefused, match="SP1"):
        SimulatedCarrier().track("SP1")


def test_the_carrier_is_chosen_by_a_setting(settings: Settings) -> None:
    assert isinstance(carrier(), SimulatedCarrier)

    settings.SHIPPING_CARRIER = "pigeon"
    with pytest.raises(ImproperlyConfigured, match=r"'pigeon'\. Use one of: simulated"):
        carrier()


def order_to_buy(address: Address | None = HOME) -> BuyLabel:
    return BuyLabel(
        order_id="o1",
        customer_id="cust-123",
        shipment_id="ship-o1",
        key="main/ship-o1/label",
        service_level="Express",
        parcels=(Parcel("ship-o1-1", (ParcelLine("1", "prod-456", 2),)),),
        address=address,
    )


def buy(command: BuyLabel, context: Context) -> RecordLabel | RecordLabelRefused | Retry:
    (answer,) = buy_label([Call(command, context)])
    return answer


def test_buying_a_label_twice_gives_the_same_answer(context: Context) -> None:
    answer = buy(order_to_buy(), context)

    assert buy(order_to_buy(), context) == answer
    label = SimulatedLabel.objects.get()
    assert label.reference == "main/ship-o1"
    assert answer == RecordLabel(
        order_id="o1",
        shipment_id="ship-o1",
        carrier="SwiftParcel",
        tracking_number=label.tracking_number,
        label_url=f"https://labels.swiftparcel.example/{label.tracking_number}.pdf",
        cost=Money(1295, "USD"),
        estimated_delivery=date(2026, 3, 4),
    )


def test_a_refusal_is_an_answer_and_a_passing_fault_is_tried_again(context: Context) -> None:
    nowhere = msgspec.structs.replace(HOME, zip_code="00000")

    assert buy(order_to_buy(nowhere), context) == RecordLabelRefused(
        order_id="o1",
        shipment_id="ship-o1",
        reason="The address cannot be reached: zip code 00000 does not exist.",
    )
    assert isinstance(buy(order_to_buy(in_city("Timeout")), context), Retry)


def test_the_answer_about_a_shipment_says_which_question_it_answers(
    context: Context, settings: Settings
) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 30
    label = buy(order_to_buy(), context)
    assert isinstance(label, RecordLabel)

    answer = track_shipment(
        TrackShipment(
            order_id="o1",
            shipment_id="ship-o1",
            tracking_number=label.tracking_number,
            ask=7,
        )
    )

    assert answer == RecordTracking(
        order_id="o1",
        shipment_id="ship-o1",
        status="Delivered",
        at=context.now + timedelta(seconds=30),
        location="Springfield",
        ask=7,
    )


def offenders() -> dict[str, int]:
    with connection.cursor() as cursor:
        found = {}
        for name, sql in INVARIANTS:
            cursor.execute(sql)
            found[name] = len(cursor.fetchall())
        return found


def test_the_invariants_find_what_is_wrong_and_nothing_else(context: Context) -> None:
    label = buy(order_to_buy(), context)
    assert isinstance(label, RecordLabel)
    row = Shipment.objects.create(
        tenant="main",
        order_id="o1",
        shipment_id="ship-o1",
        customer_id="cust-123",
        status="Created",
        service_level="Express",
        parcels=[],
        carrier=label.carrier,
        tracking_number=label.tracking_number,
        cost=label.cost.amount,
        currency=label.cost.currency,
    )
    assert list(offenders().values()) == [0, 0, 0]

    create(msgspec.structs.replace(request(key="main/second"), reference="main/ship-o1"))
    assert list(offenders().values()) == [1, 1, 0]

    row.delete()
    assert list(offenders().values()) == [1, 0, 2]
