"""The demo page: one crowd at a time, from a process of its own, which stops when it is told to."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from ecommerce.console import crowds
from ecommerce.console.client import Unreachable
from ecommerce.console.demo import Demo, Order
from ecommerce.console.models import Crowd
from ecommerce.identity import tenants
from ecommerce.messaging.errors import Conflict
from tests.console.counting import counted
from tests.journeys import audit
from tests.journeys.conftest import BackgroundWorker
from tests.journeys.shop import until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/demo"
MOST_QUERIES = 15
PATIENCE = 80.0
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def nobody_starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Crowds are sent nowhere; the addresses that they would have gone to."""
    sent: list[str] = []
    monkeypatch.setattr(crowds, "_launch", lambda crowd, url: sent.append(url))
    return sent


@pytest.fixture
def at_work(transactional_db: None) -> Iterator[None]:
    """The seeded shop with a worker at work."""
    tenants.forget()
    call_command("seed", verbosity=0)
    audit.settle()
    worker = BackgroundWorker()
    worker.start()
    yield
    worker.stop()
    tenants.forget()


def send(client: Client, **form: object) -> str:
    given = {"rate": 5, "seconds": 30} | form
    return client.post(f"{PAGE}/start", given, follow=True).content.decode()


def newest() -> Crowd:
    found = crowds.newest("main")
    assert found is not None
    return found


# A real one


class Visitor:
    """Somebody on this machine who presses the page's buttons, over HTTP."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def page(self) -> str:
        return self.http.get(PAGE).text

    def press(self, button: str, **form: object) -> str:
        self.page()
        token = {"csrfmiddlewaretoken": self.http.cookies["csrftoken"]}
        return self.http.post(f"{PAGE}/{button}", data=form | token, follow_redirects=True).text


@pytest.fixture
def visitor(live_server: LiveServer, at_work: None) -> Iterator[Visitor]:
    with httpx.Client(base_url=live_server.url, timeout=15, trust_env=False) as http:
        yield Visitor(http)


def test_a_crowd_orders_and_its_orders_end(visitor: Visitor) -> None:
    assert "A crowd is on its way." in visitor.press("start", rate=5, seconds=5)
    until(lambda: not newest().is_open, seconds=PATIENCE)

    crowd = newest()
    assert (crowd.state, crowd.error, crowd.unmeant) == ("done", "", 0)
    assert (crowd.placed, crowd.ended) == (25, 25)
    assert "25</span> of 25 placed" in visitor.page()
    assert audit.findings() == []


def test_a_crowd_stops_when_it_is_told_to(visitor: Visitor) -> None:
    visitor.press("start", rate=5, seconds=300)
    until(lambda: newest().placed, seconds=PATIENCE)

    assert "orders no more" in visitor.press("stop")

    until(lambda: not newest().is_open, seconds=PATIENCE)
    assert newest().state == "done"
    assert newest().ended == newest().placed < 1500


def test_a_crowd_that_finds_no_shop_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowds, "PATIENCE_SECONDS", 0.1)

    with pytest.raises(Unreachable):
        crowds.carry_out(_row(), NOBODY)

    assert newest().state == "failed"
    assert newest().error.startswith("Unreachable: GET http://127.0.0.1:9/api/products")


def test_orders_are_not_placed_after_the_stop() -> None:
    demo = Demo(None, rate=1000, deadline=1)  # type: ignore[arg-type]
    demo.stopping.set()
    order = Order(1, "ordinary", {})

    demo.place([order])

    assert order.status == "not placed"


# The page


def test_one_crowd_at_a_time(
    operator: Client, settings: Settings, nobody_starts: list[str]
) -> None:
    settings.SHOP_OPEN = True

    first, second = send(operator), send(operator)

    assert "A crowd is on its way." in first
    assert "A crowd is at work already" in second
    assert Crowd.objects.count() == 1
    assert nobody_starts == ["http://127.0.0.1:80"]


def started_together(number: int) -> int:
    """How many of so many crowds that are sent at the same time are at work then."""
    barrier = threading.Barrier(number)

    def start(_: int) -> bool:
        barrier.wait()
        try:
            crowds.start("main", "test", 1, 5, NOBODY)
        except Conflict:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(number) as pool:
        return sum(pool.map(start, range(number)))


def test_of_crowds_that_are_sent_at_once_one_is_at_work(nobody_starts: list[str]) -> None:
    assert started_together(6) == 1
    assert len(nobody_starts) == 1


def test_control_without_the_constraint_all_are_at_work(nobody_starts: list[str]) -> None:
    name = "console_crowd_one_at_a_time"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_indexdef(%s::regclass)", [name])
        (definition,) = cursor.fetchone()
        cursor.execute(f"DROP INDEX {name}")
    try:
        assert started_together(6) == 6
    finally:
        Crowd.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(definition)


def test_a_crowd_that_died_makes_room_and_says_so(nobody_starts: list[str]) -> None:
    lost = _row(beat_at=timezone.now() - timedelta(seconds=crowds.LOST_SECONDS + 1))
    assert (newest().state, newest().error) == ("failed", crowds.DIED)

    crowds.start("main", "test", 1, 5, NOBODY)

    lost.refresh_from_db()
    assert lost.state == "failed"
    assert newest().is_open


def test_another_shops_crowd_is_in_the_way_and_not_shown(
    with_scopes: Callable[..., Client], settings: Settings, nobody_starts: list[str]
) -> None:
    ours, theirs = with_scopes("operations"), with_scopes("operations", tenant="other")
    settings.SHOP_OPEN = True
    send(theirs)

    assert "A crowd is at work already" in send(ours)
    assert ours.get(PAGE).context["strip"].crowd is None
    assert "There is no crowd at work." in ours.post(f"{PAGE}/stop", follow=True).content.decode()
    assert not Crowd.objects.get().stopping


@pytest.mark.parametrize("form", [{"rate": 0}, {"rate": 21}, {"seconds": 301}, {"seconds": "long"}])
def test_a_crowd_has_bounds(
    operator: Client, settings: Settings, nobody_starts: list[str], form: dict[str, object]
) -> None:
    settings.SHOP_OPEN = True

    assert "1 to 20 orders a second" in send(operator, **form)
    assert Crowd.objects.count() == 0


def test_a_closed_shop_takes_no_crowd(operator: Client, nobody_starts: list[str]) -> None:
    assert "SHOP_OPEN=1" in send(operator)
    assert Crowd.objects.count() == 0


def test_only_operators_send_crowds(
    with_scopes: Callable[..., Client], nobody_starts: list[str]
) -> None:
    visitor = with_scopes("orders:write")

    assert [visitor.post(f"{PAGE}/{each}").status_code for each in ("start", "stop")] == [403, 403]
    assert nobody_starts == []


def test_one_comes_back_to_the_page_that_one_came_from(operator: Client) -> None:
    from_chaos = {"referer": "http://testserver/console/chaos"}
    from_elsewhere = {"referer": "http://evil.example/console/letters"}

    there = operator.post(f"{PAGE}/stop", headers=from_chaos)
    here = operator.post(f"{PAGE}/stop", headers=from_elsewhere)

    assert [there.headers["Location"], here.headers["Location"]] == ["/console/chaos", PAGE]


def test_the_page_takes_few_queries(operator: Client) -> None:
    _row()
    operator.get(PAGE)

    with counted() as queries:
        operator.get(PAGE)

    assert len(queries) <= MOST_QUERIES


def test_a_crowd_by_hand_must_be_one_that_was_sent(settings: Settings) -> None:
    with pytest.raises(CommandError, match="There is no crowd"):
        call_command("crowd", str(uuid.uuid4()), url=NOBODY)

    crowd = _row()
    settings.PRODUCTION = True
    with pytest.raises(CommandError, match="Crowds are for development"):
        call_command("crowd", str(crowd.pk), url=NOBODY)


def _row(**given: object) -> Crowd:
    now = timezone.now()
    known = {"tenant": "main", "actor": "test", "rate": 5, "orders": 10}
    return Crowd.objects.create(**known | {"started_at": now, "beat_at": now} | given)
