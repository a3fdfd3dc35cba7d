"""What was stored in an old version is read in the current one, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecommerce.messaging import messages
from ecommerce.messaging.errors import ContractError
from ecommerce.messaging.events import append, read_stream
from ecommerce.messaging.messages import Message, Personal, decode, encode, event

Declare = Callable[[type[Message], Callable[[Any], Any]], Any]
Fields = dict[str, Any]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declare a contract of orders, in place of an older version of it."""
    for known in ("_by_name", "_by_type"):
        monkeypatch.setattr(messages, known, dict(getattr(messages, known)))

    def put(cls: type[Message], contract: Callable[[Any], Any]) -> Any:
        cls.__module__, cls.__name__ = "orders.contracts", "Greeted"
        messages._by_name.pop("orders.Greeted", None)
        return contract(cls)

    return put


class First(Message):
    order_id: str
    customer_id: str
    amount: int
    name: Personal[str]


class Second(Message):
    order_id: str
    customer_id: str
    amount: int
    currency: str
    full_name: Personal[str]


class Third(Message):
    order_id: str
    customer_id: str
    price: dict[str, int | str]
    full_name: Personal[str]


def with_currency(fields: Fields) -> Fields:
    name = fields.pop("name", None)
    return {**fields, "currency": "USD"} | ({"full_name": name} if name else {})


def with_price(fields: Fields) -> Fields:
    price = {"amount": fields.pop("amount"), "currency": fields.pop("currency")}
    return {**fields, "price": price}


def contract(version: int, *upcast: Callable[[Fields], Fields]) -> Callable[[Any], Any]:
    return event(stream="order_id", person="customer_id", version=version, upcast=upcast)


PAYLOADS = {
    1: '{"order_id":"o1","customer_id":"c1","amount":5}',
    2: '{"order_id":"o1","customer_id":"c1","amount":5,"currency":"USD"}',
    3: '{"order_id":"o1","customer_id":"c1","price":{"amount":5,"currency":"USD"}}',
}
PERSONAL = {1: '{"name":"Ada"}', 2: '{"full_name":"Ada"}', 3: '{"full_name":"Ada"}'}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_is_read_as_the_current_one(declare: Declare, version: int) -> None:
    declare(Third, contract(3, with_currency, with_price))

    message = decode("orders.Greeted", version, PAYLOADS[version], PERSONAL[version])

    price: dict[str, int | str] = {"amount": 5, "currency": "USD"}
    assert message == Third(order_id="o1", customer_id="c1", price=price, full_name="Ada")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_person_who_is_forgotten_is_nobody_in_every_version(
    declare: Declare, version: int
) -> None:
    declare(Third, contract(3, with_currency, with_price))

    message = decode("orders.Greeted", version, PAYLOADS[version], None)

    assert isinstance(message, Third)
    assert message.full_name == ""


@pytest.mark.parametrize("version", [0, -1, 4])
def test_a_version_that_this_code_does_not_know_has_no_reader(
    declare: Declare, version: int
) -> None:
    declare(Third, contract(3, with_currency, with_price))

    with pytest.raises(ContractError, match=rf"Greeted version {version} has no reader: .* 1 to 3"):
        decode("orders.Greeted", version, PAYLOADS[3], PERSONAL[3])


@pytest.mark.parametrize("upcast", [[], [with_currency], [with_currency, with_price, with_price]])
def test_a_version_rises_with_an_upcaster_for_each_older_one(
    declare: Declare, upcast: list[Callable[[Fields], Fields]]
) -> None:
    with pytest.raises(ContractError, match=rf"has version 3 and {len(upcast)} upcasters"):
        declare(Third, contract(3, *upcast))


def test_an_upcaster_that_fails_is_named_without_what_it_read(declare: Declare) -> None:
    def quoting(fields: Fields) -> Fields:
        raise ValueError(fields["name"])

    declare(Second, contract(2, quoting))

    with pytest.raises(ContractError) as raised:
        decode("orders.Greeted", 1, PAYLOADS[1], PERSONAL[1])
    assert str(raised.value) == (
        "orders.Greeted version 1 cannot be read as 2: ValueError in quoting"
    )


def test_what_an_upcaster_gives_must_fit_the_contract(declare: Declare) -> None:
    declare(Second, contract(2, lambda fields: fields))

    with pytest.raises(ContractError, match=r"Greeted version 1: .*unknown field `name`"):
        decode("orders.Greeted", 1, PAYLOADS[1], PERSONAL[1])


def test_a_personal_field_can_be_forgotten_or_is_refused(declare: Declare) -> None:
    class Counted(Message):
        order_id: str
        customer_id: str
        age: Personal[int]

    with pytest.raises(ContractError, match="personal field 'age' needs a default"):
        declare(Counted, contract(1))


@pytest.mark.django_db(transaction=True)
def test_a_stream_that_saw_a_new_version_is_read_in_that_version(declare: Declare) -> None:
    # given events of all versions, each written by the code of its time
    written = 0
    codes: list[tuple[type[Message], list[Callable[[Fields], Fields]]]] = [
        (First, []),
        (Second, [with_currency]),
        (Third, [with_currency, with_price]),
    ]
    for number, (cls, upcast) in enumerate(codes, 1):
        declare(cls, contract(number, *upcast))
        old = messages.contract_of(cls).decoder.decode(
            f"{PAYLOADS[number][:-1]},{PERSONAL[number][1:]}"
        )
        written = append([old], expected=written, tenant="main", actor="test")
    # when today's code reads them
    found = list(read_stream("orders", "main", "order/o1"))
    # then they differ in the log only
    assert [stored.contract for stored in found] == [1, 2, 3]
    assert len({encode(stored.message()).payload for stored in found}) == 1
    assert {type(stored.message()) for stored in found} == {Third}
