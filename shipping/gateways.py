"""The carrier: what shipping needs of one, and the simulated one for development and tests.

CarrierError
├── CarrierRefused       the carrier will never take this; the text says why
└── CarrierUnavailable   no answer, or a passing fault: ask again with the same key
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import ClassVar, NamedTuple, Protocol

import msgspec
import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import F

from ecommerce.messaging.database import connection
from ecommerce.simulation import UNFLUSHED, Provider
from ecommerce.values import Address, Money

from .contracts import Parcel, ServiceLevel, TrackingStatus
from .models import SimulatedFault, SimulatedLabel, SimulatedTrouble


class CarrierError(Exception):
    """Base of what a carrier may answer besides a result."""


class CarrierRefused(CarrierError):
    """The carrier will never take this shipment."""


class CarrierUnavailable(CarrierError):
    """The carrier did not answer, or asks to try later; it may have carried out the request."""


class LabelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a carrier must know to sell a label. Without `address` the customer fetches the goods.

    The same `key` always gets the same label; `reference` is printed on it.
    """

    key: str
    reference: str
    service_level: ServiceLevel
    parcels: tuple[Parcel, ...]
    address: Address | None
    shipped_at: datetime


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A label that was bought."""

    carrier: str
    tracking_number: str
    label_url: str
    cost: Money
    estimated_delivery: date


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a shipment is, and since when."""

    status: TrackingStatus
    at: datetime
    location: str = ""


class Carrier(Protocol):
    """A carrier's interface."""

    def create(self, requests: Sequence[LabelRequest]) -> list[Label | CarrierError]:
        """Buy labels, at most one for each key; return one answer for each request.

        A carrier that sells one at a time is asked for a few seconds at most; what is left by then
        is CarrierUnavailable, and asked for again.
        """
        ...

    def track(self, tracking_number: str) -> Whereabouts:
        """Tell where a shipment is.

        Raises CarrierRefused for an unknown number, CarrierUnavailable.
        """
        ...


def carrier() -> Carrier:
    """The carrier that the setting SHIPPING_CARRIER names.

    Raises ImproperlyConfigured when there is no such adapter.
    """
    name = settings.SHIPPING_CARRIER
    if name not in ADAPTERS:
        raise ImproperlyConfigured(
            f"SHIPPING_CARRIER is {name!r}. Use one of: {', '.join(sorted(ADAPTERS))}."
        )
    return ADAPTERS[name]()


def delivery_time() -> timedelta:
    """How long simulated goods travel, and how long to wait between questions about them."""
    return timedelta(seconds=settings.SIMULATED_DELIVERY_SECONDS)


TROUBLES = Provider(
    "carrier",
    "Carrier",
    SimulatedTrouble,
    {
        "lost answers": "loses its answers",
        "slow": "takes its time",
        "refusing": "takes no new parcel",
        "unavailable": "is not there",
    },
)


class Sold(NamedTuple):
    """What the books say of a label: columns of SimulatedLabel."""

    key: str
    reference: str
    tracking_number: str
    service_level: str
    city: str
    cost: int
    currency: str
    shipped_at: datetime
    estimated_delivery: date


_SELL = f"""
    INSERT INTO shipping_simulatedlabel ({", ".join(Sold._fields)})
    SELECT unnest(%b::text[]), unnest(%b::text[]), unnest(%b::text[]), unnest(%b::text[]),
           unnest(%b::text[]), unnest(%b::bigint[]), unnest(%b::text[]),
           unnest(%b::timestamptz[]), unnest(%b::date[])
    FROM {UNFLUSHED}
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING {", ".join(Sold._fields)}
"""


class SimulatedCarrier:
    """A carrier in two tables of the database. It misbehaves as the address asks for:

    | address           | behaviour                                                      |
    |-------------------|----------------------------------------------------------------|
    | zip code `00000`  | refuses: there is no such address                              |
    | city `Timeout`    | never answers                                                  |
    | city `Flaky`      | fails twice, then works                                        |
    | city `Lost Answer`| sells the label, but its first answer is lost                  |
    | city `Detour`     | reports the goods in transit once, then delivered              |
    | city `Nowhere`    | reports an exception, for ever                                 |

    Without an address the goods wait at the warehouse from the next day on, at no cost. `TROUBLES`
    come on top of all that.
    """

    NAME = "SwiftParcel"
    COLLECTION = "Warehouse collection"
    LABELS = "https://labels.swiftparcel.example"
    CURRENCY = "USD"
    COSTS: ClassVar[dict[ServiceLevel, int]] = {
        "Standard": 495,
        "Express": 1295,
        "Overnight": 2495,
    }
    DAYS: ClassVar[dict[ServiceLevel, int]] = {"Standard": 4, "Express": 2, "Overnight": 1}

    def create(self, requests: Sequence[LabelRequest]) -> list[Label | CarrierError]:
        try:
            _reach()
            faults = [_fault(request) for request in requests]
            # Sorted, those that buy the same labels at the same time wait for each other in turn.
            taken = sorted(
                {r.key: r for r, fault in zip(requests, faults, strict=True) if not fault}.items()
            )
            sold = self._sell([request for _, request in taken]) if taken else {}
        except CarrierUnavailable as error:
            return [error] * len(requests)
        return [
            fault or _lost(request) or self._label(request, sold[request.key])
            for request, fault in zip(requests, faults, strict=True)
        ]

    def track(self, tracking_number: str) -> Whereabouts:
        _reach()
        label = SimulatedLabel.objects.filter(tracking_number=tracking_number).first()
        if label is None:
            raise CarrierRefused(f"The carrier knows no tracking number {tracking_number}.")
        if label.city == "Detour" and _happened(f"track/{label.key}") <= 1:
            return Whereabouts(status="InTransit", at=label.shipped_at, location="Sorting centre")
        arrival = label.shipped_at + delivery_time()
        if label.city == "Nowhere":
            return Whereabouts(status="Exception", at=arrival, location="Address not found")
        return Whereabouts(status="Delivered", at=arrival, location=label.city)

    def _sell(self, requests: Sequence[LabelRequest]) -> dict[str, Sold]:
        """Write labels into the books, once for each key, in one statement."""
        columns = [list(column) for column in zip(*map(self._priced, requests), strict=True)]
        try:
            with connection(router.db_for_write(SimulatedLabel)) as books:
                rows = books.execute(_SELL, columns).fetchall()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise CarrierUnavailable(str(error)) from error
        return {label.key: label for label in (Sold(*row) for row in rows)}

    def _priced(self, request: LabelRequest) -> Sold:
        level = request.service_level
        days = self.DAYS[level] if request.address else 1
        return Sold(
            key=request.key,
            reference=request.reference,
            tracking_number=_tracking_number(request.key),
            service_level=level,
            city=_city(request)[:200],
            cost=self.COSTS[level] if request.address else 0,
            currency=self.CURRENCY,
            shipped_at=request.shipped_at,
            estimated_delivery=request.shipped_at.date() + timedelta(days=days),
        )

    def _label(self, request: LabelRequest, sold: Sold) -> Label:
        return Label(
            carrier=self.NAME if request.address else self.COLLECTION,
            tracking_number=sold.tracking_number,
            label_url=f"{self.LABELS}/{sold.tracking_number}.pdf" if request.address else "",
            cost=Money(sold.cost, sold.currency),
            estimated_delivery=sold.estimated_delivery,
        )


def _reach() -> None:
    TROUBLES.hold_up("slow")
    if TROUBLES.befalls("unavailable"):
        raise CarrierUnavailable("The carrier answers 503 Service Unavailable.")


def _fault(request: LabelRequest) -> CarrierError | None:
    if request.address and request.address.zip_code == "00000":
        return CarrierRefused("The address cannot be reached: zip code 00000 does not exist.")
    if TROUBLES.befalls("refusing") and not _is_sold(request.key):
        return CarrierRefused("The carrier takes no new parcels.")
    match _city(request):
        case "Timeout":
            return CarrierUnavailable("The carrier did not answer in time.")
        case "Flaky" if _happened(f"create/{request.key}") <= 2:
            return CarrierUnavailable("The carrier answered 503 Service Unavailable.")
    return None


def _lost(request: LabelRequest) -> CarrierUnavailable | None:
    lost = _city(request) == "Lost Answer" and _happened(f"create/{request.key}") <= 1
    if lost or TROUBLES.befalls("lost answers"):
        return CarrierUnavailable("The connection broke before the carrier's answer arrived.")
    return None


def _city(request: LabelRequest) -> str:
    return request.address.city if request.address else ""


def _is_sold(key: str) -> bool:
    return SimulatedLabel.objects.filter(key=key).exists()


def _tracking_number(key: str) -> str:
    """Sixteen digits and a check digit (mod 10, weights 3 and 1) behind the carrier's letters."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    digits = f"{int.from_bytes(digest) % 10**16:016d}"
    total = sum(int(d) * (3, 1)[i % 2] for i, d in enumerate(reversed(digits)))
    return f"SP{digits}{-total % 10}"


def _happened(key: str) -> int:
    """Count a fault, and tell how often it has happened with this one."""
    SimulatedFault.objects.bulk_create([SimulatedFault(key=key)], ignore_conflicts=True)
    SimulatedFault.objects.filter(key=key).update(times=F("times") + 1)
    return SimulatedFault.objects.get(key=key).times


ADAPTERS: dict[str, type[SimulatedCarrier]] = {"simulated": SimulatedCarrier}
