"""`/metrics`, in Prometheus' format: what requests take, and what each service has to do.

Requests are counted by the process that answers them. Where there are several on a machine, they
share their counts through files in PROMETHEUS_MULTIPROC_DIR, so that it does not matter which of
them is asked. All else is read from the databases, where workers of all machines leave it.

Whoever asks from METRICS_FROM is shown everything. Others need a token with the scope `operations`,
and are shown their own tenant's figures beside those that belong to nobody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import ip_network

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ecommerce.messaging.backlogs import backlogs, busiest, folded
from ecommerce.messaging.services import services

from .access import direct_address, page_for

MOST_TENANTS = 20
"""Those with the most work have figures of their own."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "(none)"
"""Static files, and what has no address."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_registry = CollectorRegistry()
_requests = Counter(
    "shop_http_requests_total",
    "Requests that were answered.",
    ["method", "route", "status"],
    registry=_registry,
)
_seconds = Histogram(
    "shop_http_request_seconds",
    "Time until the answer began.",
    ["method", "route"],
    buckets=BUCKETS,
    registry=_registry,
)


class Measured:
    """Before all other middleware: counts each request and takes its time."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        response = self.get_response(request)
        method = request.method if request.method in METHODS else "OTHER"
        route = _route(request)
        _requests.labels(method, route, response.status_code).inc()
        _seconds.labels(method, route).observe(time.perf_counter() - begun)
        return response


def _route(request: HttpRequest) -> str:
    """The address with names in place of ids; the admin's hundreds are one."""
    match = request.resolver_match
    if match is None:
        return NO_ROUTE
    return "/admin/…" if "admin" in match.app_names else f"/{match.route}"


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponseBase:
    """Everything for a scraper, a tenant's part for its operators."""
    if "Authorization" not in request.headers and _may_scrape(request):
        return _exposed(request, None)
    return _for_operators(request)


@page_for("operations")
def _for_operators(request: HttpRequest) -> HttpResponse:
    return _exposed(request, {request.auth.tenant})  # type: ignore[attr-defined]


def _may_scrape(request: HttpRequest) -> bool:
    address = direct_address(request)
    networks = [ip_network(network) for network in settings.METRICS_FROM]
    return address is not None and any(address in network for network in networks)


def _exposed(request: HttpRequest, tenants: Collection[str] | None) -> HttpResponse:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = CollectorRegistry()
    registry.register(_counted())
    registry.register(_Work(tenants))
    return HttpResponse(encode(registry), content_type=content_type)


def _counted() -> CollectorRegistry:
    """What all processes of this machine have counted."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return _registry
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together


QUEUES = {
    "waiting": ("shop_messages_waiting", "Messages that were sent to the service and wait."),
    "parked": ("shop_deliveries_parked", "Deliveries that failed, or wait behind one that did."),
    "dead": ("shop_dead_letters_waiting", "Dead letters that nobody has decided about."),
    "calls due": ("shop_calls_waiting", "Calls to the outside that wait, due or not."),
    "calls under way": ("shop_calls_under_way", "Calls to the outside that somebody makes now."),
}
FACTS = {
    "workers": ("shop_workers_alive", "Workers that were heard of within a lease's time."),
    "leases": ("shop_partitions_held", "Partitions that a worker holds."),
    "partitions": ("shop_partitions", "All partitions."),
    "canary": ("shop_canary_age_seconds", "Time since the service answered its own ping."),
    "call": ("shop_oldest_call_seconds", "For how long a call is due that nobody makes."),
    "timer": ("shop_oldest_timer_seconds", "For how long a timer is due that nobody sends."),
}


class _Work(Collector):
    """The services' work; of these tenants only, if any are named."""

    def __init__(self, tenants: Collection[str] | None) -> None:
        self.tenants = tenants

    def collect(self) -> Iterator[Metric]:
        read = backlogs()
        named = busiest(read, MOST_TENANTS) if self.tenants is None else set(self.tenants)
        found = [folded(backlog, named) for backlog in read]
        yield _answered({backlog.service for backlog in found})
        for queue, about in QUEUES.items():
            yield _gauge(about, "tenant", (
                (backlog.service, tenant, round(length))
                for backlog in found for (name, tenant), length in backlog.lengths.items()
                if name == queue and self._shows(tenant)
            ))  # fmt: skip
        oldest = ("shop_oldest_message_seconds", "For how long the first waiting message waits.")
        yield _gauge(oldest, "tenant", (
            (backlog.service, tenant, age)
            for backlog in found for tenant, age in backlog.oldest.items() if self._shows(tenant)
        ))  # fmt: skip
        attempts = ("shop_deliveries_per_second", "Deliveries of late.")
        yield _gauge(attempts, "outcome", (
            (backlog.service, outcome, rate)
            for backlog in found for outcome, rate in backlog.attempts.items()
        ))  # fmt: skip
        behind = (
            "shop_oldest_unrelayed_seconds",
            "For how long a message waits for this database.",
        )
        yield _gauge(behind, "source", (
            (backlog.service, source, age)
            for backlog in found for source, age in backlog.unrelayed.items()
        ))  # fmt: skip
        for fact, about in FACTS.items():
            yield _gauge(about, None, (
                (backlog.service, "", backlog.facts[fact])
                for backlog in found if fact in backlog.facts
            ))  # fmt: skip

    def _shows(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants


def _answered(found: Collection[str]) -> Metric:
    about = ("shop_service_read", "Whether the service's database told.")
    return _gauge(about, None, ((each.label, "", each.label in found) for each in services()))


def _gauge(
    about: tuple[str, str], label: str | None, samples: Iterable[tuple[str, str, float]]
) -> Metric:
    """A figure by service, and by one thing more if `label` names it."""
    family = GaugeMetricFamily(*about, labels=["service", *([label] if label else [])])
    for service, value, number in sorted(samples):
        family.add_metric([service, *([value] if label else [])], float(number))
    return family


urlpatterns = [path("metrics", metrics, name="metrics")]
