"""What Prometheus is told, and who may ask."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families
from pytest_django.fixtures import Settings

from ecommerce.identity import tenants
from ecommerce.identity.models import Tenant
from ecommerce.messaging import backlogs, bus, database
from ecommerce.messaging.backlogs import OTHERS, STRETCH
from ecommerce.messaging.services import service, services
from ecommerce.messaging.worker import Worker
from ecommerce.web import metrics
from inventory.contracts import CreateProduct
from tests.admin import rows
from tests.web.test_health import beat

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

Sample = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backlogs, "KEPT_SECONDS", 0.0)
    backlogs.forget()
    yield
    backlogs.forget()


def told(client: Client | None = None) -> dict[str, Sample]:
    """Every figure by its name and the values of its labels, which are sorted by name."""
    answer = (client or Client()).get("/metrics")
    assert answer.status_code == 200, answer
    found: dict[str, Sample] = {}
    for family in families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def create(product_id: str, tenant: str = "main") -> None:
    command = CreateProduct(
        product_id=product_id,
        name="Scarf",
        description="",
        price=100,
        currency="USD",
        initial_stock=1,
    )
    bus.execute(command, tenant=tenant, actor="test")


def tenant(slug: str) -> None:
    Tenant.objects.get_or_create(slug=slug, defaults={"name": slug})
    tenants.forget()


# What is told


def test_what_waits_is_told_by_service_and_tenant_until_it_is_delivered() -> None:
    # given
    for product_id in ("p1", "p2", "p3"):
        create(product_id)
    create("p1", tenant="other")
    # when
    before = told()
    # then
    each = {
        tenant: before["shop_messages_waiting"]["orders", tenant] for tenant in ("main", "other")
    }
    assert each == {"main": 3, "other": 1}
    assert 0 <= before["shop_oldest_message_seconds"]["orders", "main"] < 60
    # and when it is delivered
    Worker().drain(10)
    after = told()
    assert ("orders", "main") not in after.get("shop_messages_waiting", {})
    assert after["shop_deliveries_per_second"]["done", "orders"] > 0


def test_a_long_queue_is_scaled_up_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "STRETCH", 10)
    for number in range(40):
        create(f"p{number}")

    waiting = told()["shop_messages_waiting"]["orders", "main"]

    assert 30 <= waiting <= 50
    assert STRETCH > 10


def test_what_is_stuck_is_told_by_tenant() -> None:
    tables = service("payments").tables
    rows.make(tables.dead, 1, tenant="main", state="waiting")
    rows.make(tables.dead, 2, tenant="main", state="waiting", stream="order/o2")
    rows.make(tables.dead, 3, tenant="main", state="resolved", stream="order/o3")
    rows.make(tables.dead, 4, tenant="other", state="held", stream="order/o4")
    rows.make(tables.parked, 1, tenant="other")
    rows.make(tables.effect, 1, tenant="other")

    found = told()

    assert found["shop_dead_letters_waiting"] == {("payments", "main"): 2}
    assert found["shop_deliveries_parked"] == {("payments", "other"): 1}
    assert found["shop_calls_waiting"] == {("payments", "other"): 1}


def test_workers_leases_and_canaries_are_told() -> None:
    beat()

    found = told()

    assert found["shop_workers_alive"] == {(each.label,): 1 for each in services()}
    assert found["shop_service_read"] == {(each.label,): 1 for each in services()}
    assert found["shop_partitions"]["orders",] == 64
    assert found["shop_partitions_held"]["orders",] == 0
    # and when one worked
    Worker().drain(10)
    assert set(told()["shop_canary_age_seconds"]) == {(each.label,) for each in services()}


def test_how_long_the_first_call_and_timer_have_been_due_is_told() -> None:
    tables = service("payments").tables
    for number, age in enumerate((30, 90, -90)):
        due_at = timezone.now() - timedelta(seconds=age)
        rows.make(tables.effect, number, due_at=due_at)
        rows.make(tables.timer, number, due_at=due_at)

    found = told()

    for name in ("shop_oldest_call_seconds", "shop_oldest_timer_seconds"):
        assert 90 <= found[name].pop(("payments",)) < 150
        assert set(found[name].values()) == {0.0}
    assert "shop_oldest_unrelayed_seconds" not in found


def test_requests_are_counted_by_route_and_status() -> None:
    def count(*labels: str) -> float:
        return told().get("shop_http_requests_total", {}).get(labels, 0.0)

    shown = ("GET", "/shop/products/<product_id>", "404")
    before, nothing = count(*shown), count("GET", metrics.NO_ROUTE, "404")
    # when
    Client().get("/shop/products/p1")
    Client().get("/shop/products/p2")
    Client().get("/no-such-address")
    Client().generic("BREW", "/shop/")
    Client().get("/admin/orders/order/")
    # then
    assert count(*shown) == before + 2
    assert count("GET", metrics.NO_ROUTE, "404") == nothing + 1
    assert count("OTHER", "/shop/", "405") >= 1
    assert count("GET", "/admin/…", "302") >= 1
    assert told()["shop_http_request_seconds_count"]["GET", "/shop/products/<product_id>"] >= 2
    assert "p1" not in Client().get("/metrics").content.decode()


def test_the_busiest_tenants_are_named_and_the_others_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "MOST_TENANTS", 2)
    for slug, many in (("a", 3), ("b", 2), ("c", 1), ("d", 1)):
        for number in range(many):
            create(f"p{number}", tenant=slug)

    waiting = told()["shop_messages_waiting"]

    assert {key[1]: value for key, value in waiting.items() if key[0] == "orders"} == {
        "a": 3,
        "b": 2,
        OTHERS: 2,
    }


def test_it_can_be_asked_for_in_openmetrics() -> None:
    accept = "application/openmetrics-text; version=1.0.0"

    answer = Client().get("/metrics", headers={"accept": accept})

    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics(answer.content.decode())}  # type: ignore[no-untyped-call]
    assert {"shop_http_requests", "shop_messages_waiting", "shop_partitions"} <= names


def test_a_database_that_is_away_is_told_and_the_rest_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlogs, "STATEMENT_TIMEOUT", "no time")

    found = told()

    assert set(found["shop_service_read"].values()) == {0.0}
    assert "shop_http_requests_total" in found


def test_what_was_read_is_kept_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "KEPT_SECONDS", 60.0)
    told()
    create("p1")

    assert "shop_messages_waiting" not in told()
    backlogs.forget()
    assert told()["shop_messages_waiting"]["orders", "main"] == 1


def test_no_log_is_read_whole() -> None:
    for config in services():
        sql, values = backlogs._statement(config)
        with database.connection(config.database) as conn:
            plan = conn.execute(f"EXPLAIN {sql}", values).fetchall()

        read_whole = [line for (line,) in plan if "Seq Scan" in line and "_seq" not in line]
        assert [line for line in read_whole if re.search("_(log|inbox|delivery|dead)", line)] == []


# Who may ask


def test_from_this_machine_all_is_told_unless_a_proxy_asks() -> None:
    assert Client().get("/metrics").status_code == 200
    for header in ({"x-forwarded-for": "203.0.113.9"}, {"sec-fetch-site": "cross-site"}):
        assert Client(headers=header).get("/metrics").status_code == 302
    assert Client(REMOTE_ADDR="203.0.113.9").get("/metrics").status_code == 302
    assert Client().post("/metrics").status_code == 405


def test_a_setting_names_who_may_ask_without_a_token(settings: Settings) -> None:
    settings.METRICS_FROM = ["203.0.113.0/24", "2001:db8::1"]

    assert Client(REMOTE_ADDR="203.0.113.9").get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="2001:db8::1").get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="127.0.0.1").get("/metrics").status_code == 302
    assert Client(REMOTE_ADDR="").get("/metrics").status_code == 302


def test_a_token_for_operations_is_told_of_its_own_tenant(
    with_token: Callable[..., Client],
) -> None:
    # given
    tenant("other")
    create("p1")
    create("p1", tenant="other")
    # when
    mine = told(with_token("operations"))
    theirs = told(with_token("operations", tenant="other"))
    # then
    assert {key[1] for key in mine["shop_messages_waiting"]} == {"main"}
    assert {key[1] for key in theirs["shop_messages_waiting"]} == {"other"}
    assert {key[1] for key in theirs["shop_oldest_message_seconds"]} == {"other"}
    assert mine["shop_partitions"] == theirs["shop_partitions"]


def test_other_tokens_are_refused(with_token: Callable[..., Client]) -> None:
    assert with_token("orders:read", "customers:read").get("/metrics").status_code == 403
    stranger: Any = Client(headers={"authorization": "Bearer shop_nonsense"})
    assert stranger.get("/metrics").status_code == 302


def test_a_setting_that_is_no_network_is_refused_at_start() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import ecommerce.settings"],
        check=False,
        env={**os.environ, "METRICS_FROM": "10.0.0.1/8"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 1
    assert f"{ImproperlyConfigured.__name__}: METRICS_FROM has '10.0.0.1/8'" in result.stderr


# Several processes

COUNT = """
import django, sys
django.setup()
from django.test import Client
for _ in range(int(sys.argv[1])):
    Client().get("/alive")
"""


def test_processes_of_one_machine_count_together(tmp_path: Path) -> None:
    """Each of them answers some requests; whichever is asked tells of all."""
    shared = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "ecommerce.settings",
        "ALLOWED_HOSTS": "testserver",
    }
    for many in ("2", "3"):
        subprocess.run([sys.executable, "-c", COUNT, many], env=shared, check=True, timeout=60)
    tell = (
        "import django; django.setup()\n"
        "from ecommerce.web import metrics\n"
        "from prometheus_client.exposition import generate_latest\n"
        "print(generate_latest(metrics._counted()).decode())"
    )
    output = subprocess.run(
        [sys.executable, "-c", tell], env=shared, check=True, capture_output=True, timeout=60
    ).stdout.decode()

    assert 'shop_http_requests_total{method="GET",route="/alive",status="200"} 5.0' in output
