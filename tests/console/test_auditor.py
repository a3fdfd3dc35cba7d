"""The auditor: asked by operators, run by workers, green or red, for one's own shop alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from ecommerce.audit import checks
from ecommerce.console import auditing
from ecommerce.console.models import Audit
from ecommerce.identity.models import Tenant
from ecommerce.messaging import database, rebuilder
from ecommerce.messaging.invariants import KERNEL, Check, _tables
from ecommerce.messaging.services import service, services
from inventory.models import Reservation
from payments.models import Payment
from tests.console.counting import counted
from tests.messaging.ordering import open_shop, place, settle

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGE = "/console/auditor"


@pytest.fixture(autouse=True)
def _impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SIMULATED_DELIVERY_SECONDS = 0
    monkeypatch.setattr(auditing, "PATIENCE", 0.0)


def shown(client: Client) -> str:
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return answer.content.decode()


def work() -> None:
    auditing.look(threading.Event())


def audited(client: Client) -> str:
    assert client.post(f"{PAGE}/ask").status_code == 302
    work()
    return shown(client)


def test_a_shop_that_is_well_is_green(operator: Client) -> None:
    assert "Not asked yet" in shown(operator)
    open_shop()
    place("one")
    settle()

    text = audited(operator)

    assert "All is well" in text
    assert f"{len(checks())} checks, nothing found." in text
    assert "verdict--good" in text


def test_what_is_wrong_is_red_and_leads_to_its_order(operator: Client) -> None:
    open_shop()
    place("order-one")
    settle()
    Payment.objects.update(amount=1)

    text = audited(operator)

    assert "verdict--bad" in text
    assert "Every captured payment is one captured charge of the same amount" in text
    assert "captured money is that of paid orders, to the cent" in text
    assert '<a href="/console/orders/order-one">' in text


def test_what_is_wrong_in_another_shop_is_not_shown(
    with_scopes: Callable[..., Client], operator: Client
) -> None:
    open_shop()
    place("order-one")
    settle()
    Reservation.objects.update(status="Released")

    stranger = with_scopes("operations", tenant="other")
    text = audited(stranger)

    assert "order-one" not in text
    assert "All is well" in text
    assert "Not asked yet" in shown(operator)
    assert "order-one" in audited(operator)


def test_what_belongs_to_no_shop_is_counted_and_its_details_are_not_shown(
    with_scopes: Callable[..., Client], operator: Client
) -> None:
    # given a delivery of a shop that was done twice, a schedule that nobody sweeps, and one row too few
    open_shop()
    place("order-one")
    settle()
    twice = service("orders").tables.delivery._default_manager.filter(outcome="done").first()
    assert twice
    message = str(twice.message_id)
    twice.pk = None
    twice.save()
    service("orders").tables.schedule._default_manager.update(due_at="2001-02-03T04:05:06Z")
    service("payments").tables.partition._default_manager.filter(number=63).delete()

    # when operators of this shop and of another ask
    own, other = audited(operator), audited(with_scopes("operations", tenant="other"))

    # then each is told that something is wrong, and where its details are
    for text in (own, other):
        assert "no delivery was done twice <strong>1 offending</strong>" in text
        assert "there are as many partitions as set <strong>1 offending</strong>" in text
        assert "of no shop: see `manage.py audit`" in text
        assert message not in text
        assert "2001" not in text

    # and the command shows them
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("audit", "--patience", "0", stdout=out)
    assert message in out.getvalue()


def test_every_statement_about_a_shop_says_whose_its_rows_are() -> None:
    shared = {"no delivery was done twice", "no schedule has been due for ten minutes"}
    for config in services():
        declared = import_module(f"{config.name}.queries").INVARIANTS
        for name, sql in [*KERNEL, *declared]:
            statement = sql.format(**_tables(config)) if (name, sql) in KERNEL else sql
            with connections[config.database].cursor() as cursor:
                cursor.execute(statement)
                columns = [column.name for column in cursor.description or ()]
            assert ("tenant" in columns) is (name not in shared), name


def test_an_error_of_a_check_is_not_quoted(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[str]:
        raise ValueError("of another shop: ann@example.com")

    monkeypatch.setattr(auditing, "checks", lambda: [Check("platform", "a rule", broken)])

    text = audited(operator)

    assert "a rule <strong>1 offending</strong>" in text
    assert "ValueError: see `manage.py audit`" in text
    assert "ann@example.com" not in text


def test_how_far_it_is_can_be_seen(operator: Client) -> None:
    operator.post(f"{PAGE}/ask")
    assert "Waiting for a worker" in shown(operator)
    finding = {"area": "orders", "name": "a rule", "offending": 0, "shown": [], "took": 0.1}
    Audit.objects.update(state="running", total=9, findings=[finding | {"too_long": False}])

    text = shown(operator)

    assert "1 of 9 checks asked" in text
    assert 'hx-trigger="load delay:1s"' in text


def test_a_check_that_takes_too_long_is_unknown(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> list[str]:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        return []

    monkeypatch.setattr(auditing, "STATEMENT_SECONDS", 1)
    monkeypatch.setattr(auditing, "checks", lambda: [Check("platform", "a slow rule", slow)])

    text = audited(operator)

    assert "verdict--warn" in text
    assert "took too long: unknown" in text
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_of_those_who_ask_at_once_one_is_heard(transactional_db: None) -> None:
    Tenant.objects.get_or_create(slug="main", defaults={"name": "main"})
    barrier = threading.Barrier(4)

    def ask(number: int) -> str:
        try:
            barrier.wait(10)
            return str(auditing.request("main", f"user:{number}").pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        asked = set(pool.map(ask, range(4)))

    assert len(asked) == 1
    assert Audit.objects.count() == 1


def test_without_the_constraint_several_would_be(transactional_db: None) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("DROP INDEX console_audit_one_at_a_time")
    try:
        for number in range(2):
            auditing.request("main", f"user:{number}")
        assert Audit.objects.count() == 2
    finally:
        Audit.objects.all().delete()
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "CREATE UNIQUE INDEX console_audit_one_at_a_time ON console_audit (tenant) "
                "WHERE state IN ('requested', 'running')"
            )


def lock(conn: database.Connection) -> None:
    conn.execute("SELECT pg_advisory_lock(hashtextextended('audit of main'::text, 0))")


def test_two_workers_do_not_run_the_same_audit(operator: Client) -> None:
    operator.post(f"{PAGE}/ask")

    with database.connect("default") as other:
        lock(other)
        work()
        assert Audit.objects.get().state == "requested"

    work()
    assert Audit.objects.get().state == "done"


def test_one_whose_worker_died_is_not_finished_and_can_be_asked_again(operator: Client) -> None:
    operator.post(f"{PAGE}/ask")
    Audit.objects.update(state="running")

    work()

    assert "It was not finished" in shown(operator)
    assert "All is well" in audited(operator)


def test_a_worker_that_stops_leaves_it_to_the_next(operator: Client) -> None:
    operator.post(f"{PAGE}/ask")
    stopping = threading.Event()
    stopping.set()

    auditing.look(stopping)
    assert Audit.objects.get().state == "requested"


def test_a_worker_of_some_services_leaves_it_to_one_of_all(
    operator: Client, settings: Settings
) -> None:
    settings.WORKER_SERVICES = ["orders"]
    operator.post(f"{PAGE}/ask")

    work()

    assert Audit.objects.get().state == "requested"


def test_every_worker_looks_for_audits() -> None:
    assert auditing.look in rebuilder._errands


def test_who_may_not_see_the_console_asks_nothing(with_scopes: Callable[..., Client]) -> None:
    for client, status in ((with_scopes("orders:write"), 403), (Client(), 302)):
        assert client.get(PAGE).status_code == status
        assert client.post(f"{PAGE}/ask").status_code == status
    assert not Audit.objects.exists()


def test_the_page_costs_the_same_however_much_was_found(operator: Client) -> None:
    open_shop()
    place("order-one")
    settle()
    Payment.objects.update(amount=1)
    audited(operator)
    with counted() as few:
        shown(operator)
    for name in ("b", "c", "d"):
        place(f"order-{name}")
    settle()
    Payment.objects.update(amount=1)
    audited(operator)

    with counted() as many:
        shown(operator)

    assert len(many) == len(few) <= 15
