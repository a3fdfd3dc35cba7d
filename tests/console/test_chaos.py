"""Chaos: it reaches what it may, the kernel withstands it, and production does not have it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from analytics.models import HourlySales
from customers.models import OrderSummary
from ecommerce.console import deliveries, processes
from ecommerce.console.deliveries import GuardFailed
from ecommerce.console.faults import weather
from ecommerce.console.models import Audit, Crowd
from ecommerce.console.pages import chaos
from ecommerce.messaging.database import close_pools, connect
from ecommerce.messaging.errors import Conflict, Fenced
from ecommerce.messaging.fleet import Member, fleet
from ecommerce.messaging.lane import Lane
from ecommerce.messaging.services import service, services
from ecommerce.simulation import providers
from ecommerce.web import live
from orders.models import Order
from tests.console.counting import counted
from tests.console.test_troubles import pass_time
from tests.journeys.shop import until
from tests.messaging import elsewhere as another
from tests.messaging.elsewhere import Elsewhere
from tests.messaging.examples import create_product
from tests.messaging.ordering import open_shop, place, settle
from tests.messaging.steps import Puppet, fetch, replaced_function
from tests.messaging.test_exactly_once import NO_FENCE

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/chaos"
MOST_QUERIES = 15
PATIENCE = 60.0
"""Seconds for processes to start on a busy machine."""
HOST = socket.gethostname()[:40]
MANAGE = str(django_settings.BASE_DIR / "manage.py")
IN_PRODUCTION = """
import django; django.setup()
from django.urls import resolve, Resolver404
for path in ("/console/chaos", "/console/chaos/kill", "/console/demo", "/console/demo/start"):
    try: print(resolve(path).view_name)
    except Resolver404: print("nothing")
print(resolve("/console/letters").view_name)
"""


def act(client: Client, action: str, **form: Any) -> str:
    return client.post(f"{PAGE}/{action}", form, follow=True).content.decode()


# Who may, and where


def test_production_does_not_have_these_addresses() -> None:
    environment = os.environ | {
        "SHOP_ENV": "production",
        "SECRET_KEY": "a" * 40 + "production",
        "ALLOWED_HOSTS": "shop.example.com",
        "DATABASE_URL": "postgresql:///any",
        "DJANGO_SETTINGS_MODULE": "ecommerce.settings",
        "DEBUG": "0",
    }

    done = subprocess.run(
        [sys.executable, "-c", IN_PRODUCTION],
        env=environment,
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == [*["nothing"] * 4, "console-letters"]


def test_only_operators_break_things(with_scopes: Callable[..., Client]) -> None:
    visitor = with_scopes("orders:read", "orders:write")

    for path in (PAGE, "/console/demo"):
        assert visitor.get(path).status_code == 403
        assert Client().get(path).status_code == 302
    for action in (*chaos.ACTIONS, "audit"):
        assert visitor.post(f"{PAGE}/{action}").status_code == 403
    assert weather().faults == []


def test_what_cannot_be_done_is_said(operator: Client) -> None:
    assert operator.post(f"{PAGE}/burn").status_code == 404
    assert operator.get(f"{PAGE}/kill").status_code == 405
    assert "Worker: This field is required." in act(operator, "kill")
    assert "Service: Select a valid choice" in act(operator, "pause", service="sales")
    assert "Kind: There is no such trouble." in act(
        operator, "trouble", provider="card", kind="fire"
    )
    assert "Provider: Select a valid choice" in act(
        operator, "trouble", provider="bank", kind="slow"
    )
    assert weather().faults == []


def test_the_panel_takes_few_queries(operator: Client) -> None:
    open_shop()
    operator.get(PAGE)
    with counted() as before:
        operator.get(PAGE)
    for number in range(20):
        place(f"o{number}")

    with counted() as after:
        operator.get(PAGE)

    assert len(after) == len(before) <= MOST_QUERIES


def test_the_auditor_is_asked_from_the_panel(operator: Client) -> None:
    assert "Not asked yet" in operator.get(PAGE).content.decode()

    operator.post(f"{PAGE}/audit")

    assert [(each.tenant, each.state) for each in Audit.objects.all()] == [("main", "requested")]


# Workers


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no worker."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def start_worker(transactional_db: None) -> Iterator[Callable[..., int]]:
    """Starts worker processes; returns how many there are then."""
    started = []

    def start(*options: str) -> int:
        started.append(subprocess.Popen([sys.executable, MANAGE, "runworker", *options]))
        return started[-1].pid

    yield start
    for process in started:
        process.send_signal(18)  # SIGCONT
        process.terminate()
        process.wait(30)


def register(name: str, *, seconds_ago: float = 0, signed_off: bool = False) -> None:
    with connect("default") as conn:
        conn.execute(
            """INSERT INTO orders_worker (name, heartbeat_at, signed_off)
               VALUES (%b::text, messaging_now() - make_interval(secs => %b::float8), %b::boolean)""",
            (name, seconds_ago, signed_off),
        )


def members() -> list[Member]:
    return fleet()[0]


@pytest.mark.parametrize("strike", [processes.kill, processes.thaw])
def test_only_a_registered_worker_of_this_installation_is_reached(
    sleeper: subprocess.Popen[bytes], strike: Callable[[str, list[Member]], None]
) -> None:
    # given names of what is no worker, or is on another machine, or was never registered
    names = [
        f"{HOST}:{sleeper.pid}:00000001",
        f"{HOST}:{os.getpid()}:00000002",
        f"elsewhere:{sleeper.pid}:00000003",
        f"{HOST}:{2**22 + 1}:00000004",
        "nonsense",
    ]
    for name in names:
        register(name)
    names.append(f"{HOST}:{sleeper.pid}:00000005")

    # when each is struck
    for name in names:
        with pytest.raises(Conflict, match="is no worker on this machine"):
            strike(name, members())

    # then nothing has happened, and none is offered
    assert sleeper.poll() is None
    assert processes.here(members()) == []


def test_a_worker_is_frozen_until_its_time_is_over_and_goes_on(
    operator: Client, start_worker: Callable[..., int]
) -> None:
    pid = start_worker()
    (process,) = until(lambda: processes.here(members()), seconds=PATIENCE)
    assert (process.pid, process.frozen) == (pid, False)

    assert "stands still for 2 seconds" in act(
        operator, "freeze", worker=process.worker, seconds="2"
    )

    assert until(lambda: [each.frozen for each in processes.here(members())]) == [True]
    assert [fault.ending["action"] for fault in weather().faults] == ["thaw"]
    assert until(lambda: not any(each.frozen for each in processes.here(members())))


def test_a_frozen_worker_is_let_go(operator: Client, start_worker: Callable[..., int]) -> None:
    start_worker()
    (process,) = until(lambda: processes.here(members()), seconds=PATIENCE)
    act(operator, "freeze", worker=process.worker, seconds="60")
    until(lambda: processes.here(members())[0].frozen)

    assert "goes on" in act(operator, "thaw", worker=process.worker)

    until(lambda: not processes.here(members())[0].frozen)


def test_a_worker_that_is_killed_is_replaced(
    operator: Client, start_worker: Callable[..., int]
) -> None:
    # given two processes under one supervisor
    start_worker("--processes", "2")
    until(lambda: len(processes.here(members())) == 2, seconds=PATIENCE)
    both = processes.here(members())

    # when one is killed
    assert "was killed" in act(operator, "kill", worker=both[0].worker)

    # then there are two again, of which one is new
    known = {each.pid for each in both}
    again = until(
        lambda: {each.pid for each in processes.here(members())} - known, seconds=PATIENCE
    )
    assert len(again) == 1


# Deliveries


@pytest.fixture
def puppet() -> Iterator[Callable[[str, str], Puppet]]:
    made: list[Puppet] = []

    def make(label: str, name: str) -> Puppet:
        made.append(Puppet(label, name))
        return made[-1]

    yield make
    for each in made:
        each.conn.close()


def test_deliveries_rest_and_go_on_when_the_pause_is_ended(
    operator: Client, puppet: Callable[[str, str], Puppet]
) -> None:
    # given a worker with work to do
    open_shop()
    worker = puppet("inventory", "one")
    worker.hold()
    place("o1")
    settle_only("orders")

    # when deliveries rest
    act(operator, "pause", service="inventory", seconds="60")

    # then what it had begun is refused, and it finds nothing to hold
    assert [fault.title for fault in weather().faults] == ["Deliveries to inventory rest"]
    assert (worker.work(), worker.held) == (0, set())

    # and it goes on when they are let go
    act(operator, "resume", service="inventory")
    assert weather().faults == []
    assert worker.work() > 0


def test_a_batch_under_way_is_refused_when_deliveries_rest(
    puppet: Callable[[str, str], Puppet],
) -> None:
    open_shop()
    worker = puppet("inventory", "one")
    worker.hold()
    place("o1")
    settle_only("orders")
    before = fetch("inventory", 'SELECT count(*) FROM "{log}"')

    deliveries.pause(service("inventory"), 60)

    with pytest.raises(Fenced):
        worker.step()
    assert fetch("inventory", 'SELECT count(*) FROM "{log}"') == before


def test_a_pause_ends_by_itself(puppet: Callable[[str, str], Puppet]) -> None:
    open_shop()
    deliveries.pause(service("inventory"), 30)
    worker = puppet("inventory", "one")
    assert worker.hold() == set()

    pass_time(31)

    assert len(worker.hold()) == django_settings.MESSAGING_PARTITIONS
    assert weather().faults == []


def settle_only(label: str) -> None:
    """Deliver what waits for one service."""
    worker = Puppet(label, "settling")
    worker.work()
    worker.release()
    worker.conn.close()


def effects_of_deliveries() -> dict[str, Any]:
    """What would change if messages had their effects twice."""
    return {
        "rows": {
            model.__name__: sorted(map(str, model._default_manager.values_list()))
            for model in (Order, OrderSummary, HourlySales)
        },
        "logs": [
            fetch(config.label, 'SELECT count(*) FROM "{log}"')[0][0] for config in services()
        ],
        "kept": [
            fetch(config.label, f'SELECT count(*) FROM "{{{kind}}}"')[0][0]
            for config in services()
            for kind in ("parked", "dead", "effect", "timer", "delivery")
        ],
    }


def test_what_is_delivered_twice_has_its_effect_once(operator: Client) -> None:
    # given orders that went through
    open_shop()
    for number in range(5):
        place(f"o{number}", customer=f"c{number}")
    settle()
    before = effects_of_deliveries()

    # when all is delivered again, to every service
    said = act(operator, "again", messages="200")

    # then nothing of it is stored
    assert "and the fence refused every batch" in said
    assert [deliveries.again(each, 200).read > 0 for each in services()[:3]] == [True] * 3
    assert effects_of_deliveries() == before


def test_control_without_the_fence_it_has_its_effect_twice() -> None:
    open_shop()
    place("o1")
    settle()
    before = effects_of_deliveries()

    with (
        connect("default") as conn,
        replaced_function(conn, "messaging_require", NO_FENCE),
        pytest.raises(GuardFailed, match=r"customers stored .* a second time"),
    ):
        deliveries.again(service("customers"), 200)

    assert effects_of_deliveries() != before


@pytest.fixture
def analytics_elsewhere(
    transactional_db: None, settings: Settings, worker_id: str
) -> Iterator[None]:
    """Analytics has a database of its own."""
    name = another.clone(f"{worker_id}_chaos")
    settings.SERVICE_DATABASES = dict(settings.SERVICE_DATABASES)
    another.open_alias(name)
    Elsewhere(name).move("analytics")
    yield
    close_pools()
    another.close_alias()


def test_an_inbox_that_is_sent_its_messages_again_takes_them_once(
    analytics_elsewhere: None,
) -> None:
    # given products of which analytics has heard in its own database
    def known() -> list[Any]:
        tables = ("inbox", "delivery", "relay")
        rows = [fetch("analytics", f'SELECT * FROM "{{{table}}}" ORDER BY 1') for table in tables]
        return [*rows, fetch("analytics", "SELECT * FROM analytics_productname ORDER BY 1")]

    def work() -> list[Any]:
        until(lambda: not lane.step())
        return known()

    lane = Lane(another.ALIAS, [service("analytics")], "one", {})
    for name in ("mouse", "desk"):
        create_product(name, 5)
    before = work()
    assert len(before[0]) >= 2

    # when it is sent everything again
    done = deliveries.again(service("analytics"), 1000)
    assert (done.read > 0, done.copied > 0, known() == before) == (True, True, False)

    # then all is as it was when that has come
    assert work() == before
    lane.disconnect()


def test_nothing_is_delivered_again_where_nothing_was(operator: Client) -> None:
    assert "There was nothing to deliver again." in act(operator, "again", service="analytics")


# Providers


def test_a_provider_is_disturbed_and_calmed(operator: Client) -> None:
    card, carrier = providers()

    act(operator, "trouble", provider="card", kind="lost answers", calls="5")
    act(operator, "trouble", provider="carrier", kind="slow", seconds="20", delay="2.5")

    assert [(each.kind, each.calls) for each in card.troubles()] == [("lost answers", 5)]
    assert [(each.kind, each.seconds) for each in carrier.troubles()] == [("slow", 2.5)]
    page = operator.get(PAGE).content.decode()
    assert "Loses its answers, for 5 more calls." in page
    assert "Takes its time: 2.5 s a call." in page

    act(operator, "calm", provider="card", kind="lost answers")
    assert card.troubles() == []


# Live


def test_the_panel_hears_what_is_new(operator: Client) -> None:
    open_shop()
    topic = live._topics["chaos"]
    assert topic.sample

    ((tenant, key, before),) = topic.sample([("main", chaos.NOW)])
    place("o1")
    ((_, _, placed),) = topic.sample([("main", chaos.NOW)])
    act(operator, "pause", service="orders")
    ((_, _, paused),) = topic.sample([("main", chaos.NOW)])

    assert (tenant, key) == ("main", chaos.NOW)
    assert '"placed":"0"' in before
    assert '"placed":"1"' in placed
    assert digests(placed) == digests(before) != digests(paused)


def digests(told: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(told)["digests"]
    return found


def test_a_page_that_was_drawn_before_something_broke_is_known_by_its_digest(
    operator: Client,
) -> None:
    topic = live._topics["chaos"]
    assert topic.sample

    # given a page, and what its stream says when it is as the page shows it
    page = operator.get(PAGE).content.decode()
    ((_, _, told),) = topic.sample([("main", chaos.NOW)])
    for part, digest in digests(told).items():
        assert f'id="{part}" data-digest="{digest}"' in page

    # when deliveries rest, and a crowd comes
    act(operator, "pause", service="orders")
    crowd = Crowd(tenant="main", actor="user:1", rate=1, orders=5)
    crowd.started_at = crowd.beat_at = timezone.now()
    crowd.save()

    # then the stream says something else of both, which the next page has
    ((_, _, told),) = topic.sample([("main", chaos.NOW)])
    again = operator.get(PAGE).content.decode()
    for part, digest in digests(told).items():
        assert f'id="{part}" data-digest="{digest}"' not in page
        assert f'id="{part}" data-digest="{digest}"' in again


def test_another_shops_orders_are_not_counted(
    operator: Client, with_scopes: Callable[..., Client]
) -> None:
    open_shop()
    place("o1")
    other = with_scopes("operations", tenant="other")

    assert operator.get(PAGE).context["strip"].placed == 1
    assert other.get(PAGE).context["strip"].placed == 0
