"""The database shows a request one tenant's rows, also to a statement that forgot to ask for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import pytest
from django.db import DataError, ProgrammingError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from ecommerce.embedded.postgres import Server
from ecommerce.identity.models import ApiToken, Tenant, User
from ecommerce.messaging import database, tenancy
from ecommerce.messaging.errors import WiringError
from ecommerce.messaging.operations import web_role
from ecommerce.messaging.services import service, services
from ecommerce.messaging.tenancy import EVERY, NOBODY, acting_for
from ecommerce.messaging.visibility import check_sees_every_tenant
from notifications.models import Mail, MailFault
from orders.models import Order
from payments.models import SimulatedCharge
from shipping.models import SimulatedLabel
from tests.admin import rows

rolled_back = pytest.mark.django_db(databases="__all__")
committed = pytest.mark.django_db(transaction=True, databases="__all__")
KEYED = (Mail, MailFault, SimulatedCharge, SimulatedLabel)
"""Models of tables whose key begins with the tenant."""
PEOPLE = (User, ApiToken)
ROUNDS = 60

EXPOSED = """
    SELECT class.relname FROM pg_class class
    JOIN pg_attribute attribute ON attribute.attrelid = class.oid AND NOT attisdropped
    WHERE class.relkind IN ('r', 'p') AND class.relnamespace = 'public'::regnamespace
      AND attribute.attname IN ('tenant', 'tenant_id')
      AND NOT (class.relrowsecurity AND EXISTS (
          SELECT FROM pg_policy WHERE polrelid = class.oid AND polcmd = '*'
            AND pg_get_expr(polqual, polrelid) LIKE '%messaging.tenant%'))
    ORDER BY 1
"""


def exposed(connection: BaseDatabaseWrapper) -> list[str]:
    """The tables with a tenant whose rows the database shows to everybody."""
    with connection.cursor() as cursor:
        cursor.execute(EXPOSED)
        return [name for (name,) in cursor.fetchall()]


@rolled_back
def test_no_table_with_a_tenant_is_exposed() -> None:
    assert {alias: exposed(connections[alias]) for alias in connections} == {
        alias: [] for alias in connections
    }


@rolled_back
def test_a_table_that_was_forgotten_would_be_found() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE forgotten (tenant text)")
        cursor.execute("DROP POLICY own_tenant ON identity_user")

    assert exposed(connections["default"]) == ["forgotten", "identity_user"]


# What is seen


def belonging() -> list[Any]:
    """Every model whose rows belong to a tenant."""
    return [
        *(model for model in rows.of_services() if hasattr(model, "tenant")), *KEYED, *PEOPLE
    ]  # fmt: skip


def plant(model: Any, tenant: str, number: int) -> Any:
    """A row of a tenant."""
    if model is User:
        return User.objects.create_user(f"person-{tenant}", tenant_id=tenant)
    if model is ApiToken:
        return ApiToken.issue(tenant=tenant, name="till", scopes=["orders:read"])[0]
    if model in KEYED:
        return rows.make(model, number, key=f"{tenant}/thing")
    return rows.make(model, number, tenant=tenant)


def connection_of(model: Any) -> BaseDatabaseWrapper:
    return connections[router.db_for_read(model)]


def count(model: Any) -> int:
    """How many rows a statement without a filter finds."""
    with connection_of(model).cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{model._meta.db_table}"')
        (found,) = cursor.fetchone()
    return int(found)


def as_each(look: Callable[[], int]) -> dict[str, int]:
    """What a look finds, by for whom it is."""
    found = {}
    for tenant in ("main", "other", "third", NOBODY, EVERY):
        with acting_for(tenant):
            found[tenant] = look()
    return found


@pytest.fixture
def shops(db: None) -> None:
    for slug in ("main", "other", "third"):
        Tenant.objects.get_or_create(slug=slug, defaults={"name": slug})


@rolled_back
@pytest.mark.parametrize("model", belonging(), ids=rows.label)
def test_without_a_filter_one_finds_ones_own_rows(shops: None, model: Any) -> None:
    # given a row of each of two shops
    plant(model, "main", 1)
    plant(model, "other", 2)

    # then a third finds none, nobody finds none, and the tables' owner finds both
    assert as_each(lambda: count(model)) == {
        "main": 1, "other": 1, "third": 0, NOBODY: 0, EVERY: 2
    }  # fmt: skip


@rolled_back
def test_what_was_done_with_a_dead_letter_is_seen_by_whose_letter_it_is(shops: None) -> None:
    for config in services():
        for number, tenant in enumerate(("main", "other"), start=1):
            letter = plant(config.tables.dead, tenant, number)
            rows.make(config.tables.dead_action, number, dead_id=letter.id)

        look = as_each(lambda: count(config.tables.dead_action))  # noqa: B023

        assert look == {"main": 1, "other": 1, "third": 0, NOBODY: 0, EVERY: 2}


@committed
def test_the_kernels_pool_shows_ones_own_rows(shops: None) -> None:
    plant(Order, "main", 1)
    plant(Order, "other", 2)

    def look() -> int:
        with database.connection(service("orders").database) as conn:
            (found,) = conn.execute("SELECT count(*) FROM orders_order").fetchone() or (0,)
        return int(found)

    assert as_each(look) == {"main": 1, "other": 1, "third": 0, NOBODY: 0, EVERY: 2}


# What is written


@pytest.fixture
def theirs(shops: None) -> Any:
    """An order of another shop."""
    return plant(Order, "other", 1)


def still_theirs(order: Order) -> bool:
    return Order.objects.filter(pk=order.pk, tenant="other", currency="USD").exists()


@rolled_back
def test_another_tenants_row_is_not_made(shops: None) -> None:
    refused = pytest.raises(ProgrammingError, match="row-level security")
    with refused, transaction.atomic(using=connection_of(Order).alias), acting_for("main"):
        plant(Order, "other", 1)

    assert count(Order) == 0


@rolled_back
def test_another_tenants_row_is_not_changed_or_deleted(theirs: Order) -> None:
    with acting_for("main"):
        changed = Order.objects.filter(pk=theirs.pk).update(currency="EUR")
        deleted, _ = Order.objects.filter(pk=theirs.pk).delete()

    assert (changed, deleted, still_theirs(theirs)) == (0, 0, True)


@rolled_back
def test_the_owner_of_the_tables_could_change_it(theirs: Order) -> None:
    with acting_for(EVERY):
        changed = Order.objects.filter(pk=theirs.pk).update(currency="EUR")

    assert (changed, still_theirs(theirs)) == (1, False)


@rolled_back
def test_ones_own_row_is_not_given_away(theirs: Order) -> None:
    refused = pytest.raises(ProgrammingError, match="row-level security")
    with refused, transaction.atomic(using=connection_of(Order).alias), acting_for("other"):
        Order.objects.filter(pk=theirs.pk).update(tenant="main")

    assert still_theirs(theirs)


# What stays on a connection


def seen_after_a_rollback() -> list[str]:
    """Whose orders a request sees whose first statement was in a transaction that was rolled back."""
    plant(Order, "main", 1)
    plant(Order, "other", 2)
    alias = connection_of(Order).alias
    with acting_for("main"):
        with transaction.atomic(using=alias):
            assert count(Order) == 1
            transaction.set_rollback(True, using=alias)
        return list(Order.objects.order_by("tenant").values_list("tenant", flat=True))


@committed
def test_a_rollback_sets_nobody_free(shops: None) -> None:
    assert seen_after_a_rollback() == ["main"]


class Naive(WeakKeyDictionary[Any, str]):
    """Believes that what was set in a transaction stays."""

    def __setitem__(self, raw: Any, tenant: str | None) -> None:
        super().__setitem__(raw, tenancy.acting())


@committed
def test_a_rollback_that_was_not_thought_of_would(
    shops: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenancy, "_told", Naive())

    assert seen_after_a_rollback() == ["main", "other"]


@committed
def test_a_failed_statement_can_be_rolled_back(shops: None) -> None:
    alias = connection_of(Order).alias
    with transaction.atomic(using=alias), acting_for("main"):
        with pytest.raises(DataError), transaction.atomic(using=alias):
            Order.objects.raw("SELECT 1 / 0 AS id")[0]

        assert count(Order) == 0


@contextmanager
def django_pool(alias: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """One connection that the threads of this block take turns with, as in a web process."""
    connections[alias].close()
    patch.setitem(connections.settings[alias]["OPTIONS"], "pool", {"min_size": 1, "max_size": 1})
    wrapper: Any = connections[alias]
    try:
        yield
    finally:
        wrapper.close()
        wrapper.close_pool()
        patch.delitem(connections.settings[alias]["OPTIONS"], "pool")


def foreign(tenant: str, look: Callable[[], list[str]]) -> int:
    """How often a request of a tenant sees rows of another, among others' requests."""
    found = 0
    for _ in range(ROUNDS):
        with acting_for(tenant):
            seen = look()
        found += seen != [tenant]
    return found


def strangers(look: Callable[[], list[str]]) -> int:
    """How often requests of two tenants at a time see each other's rows."""
    ready = threading.Barrier(2)

    def visit(tenant: str) -> int:
        ready.wait()
        return foreign(tenant, look)

    with ThreadPoolExecutor(2) as threads:
        return sum(threads.map(visit, ("main", "other")))


def look_through_django() -> list[str]:
    connection = connection_of(Order)
    try:
        return list(Order.objects.order_by("tenant").values_list("tenant", flat=True))
    finally:
        connection.close()


def look_through_the_kernel() -> list[str]:
    with database.connection(service("orders").database) as conn:
        return [tenant for (tenant,) in conn.execute("SELECT tenant FROM orders_order ORDER BY 1")]


@pytest.fixture
def one_connection(shops: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two shops' orders, and pools of one connection."""
    plant(Order, "main", 1)
    plant(Order, "other", 2)
    monkeypatch.setattr(database, "POOL_SIZE", 1)
    with django_pool(connection_of(Order).alias, monkeypatch):
        yield


@committed
@pytest.mark.parametrize("look", [look_through_django, look_through_the_kernel])
def test_a_connection_carries_no_tenant_to_the_next_request(
    one_connection: None, look: Callable[[], list[str]]
) -> None:
    assert strangers(look) == 0


@committed
def test_a_kernel_connection_that_is_not_told_anew_would(
    one_connection: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a connection that has worked for one tenant
    with acting_for("main"), database.connection(service("orders").database):
        pass
    # when it is lent after a check whether it lives, and no more
    pool = database._pool(service("orders").database)
    monkeypatch.setattr(pool, "_check", ConnectionPool.check_connection)

    assert strangers(look_through_the_kernel) == ROUNDS


@committed
def test_a_django_connection_that_is_not_told_anew_would(
    one_connection: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acting_for("main"):
        assert look_through_django() == ["main"]
    monkeypatch.setattr(tenancy, "_for_its_tenant", lambda execute, *statement: execute(*statement))

    assert strangers(look_through_django) >= ROUNDS


# Who may


@rolled_back
def test_a_worker_that_would_not_see_every_row_is_refused() -> None:
    check_sees_every_tenant(services())
    with acting_for("main"), pytest.raises(WiringError, match="BYPASSRLS"):
        check_sees_every_tenant(services())


@rolled_back
def test_a_web_process_works_for_nobody_until_it_says_for_whom(
    shops: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(Order, "main", 1)
    monkeypatch.setattr(tenancy, "_process", tenancy._Process())
    tenancy.confine()

    in_thread = ThreadPoolExecutor(1).submit(tenancy.acting).result()

    assert (in_thread, count(Order)) == (NOBODY, 0)
    with acting_for("main"):
        assert count(Order) == 1


# The role


@pytest.fixture
def server_of(own_server: Server) -> Callable[[str], psycopg.Connection[Any]]:
    """Connect to a server of one's own as a user who owns the database, made with some rights."""

    def connect(rights: str) -> psycopg.Connection[Any]:
        with psycopg.connect(own_server.url, autocommit=True) as administrator:
            administrator.execute(f"CREATE ROLE manager LOGIN {rights}")
            administrator.execute("ALTER SCHEMA public OWNER TO manager")
        return psycopg.connect(make_conninfo(own_server.url, user="manager"), autocommit=True)

    return connect


def migrate(conn: psycopg.Connection[Any]) -> None:
    conn.execute(str(web_role().sql).encode())


def test_a_user_who_may_make_roles_needs_no_help(
    server_of: Callable[[str], psycopg.Connection[Any]],
) -> None:
    with server_of("CREATEROLE") as conn:
        migrate(conn)
        migrate(conn)  # as another database of the server does
        conn.execute("SET ROLE shop_web")


def test_a_user_who_may_not_is_told_what_an_administrator_has_to_do(
    own_server: Server, server_of: Callable[[str], psycopg.Connection[Any]]
) -> None:
    with server_of("") as conn:
        with pytest.raises(
            psycopg.Error, match="CREATE ROLE shop_web NOLOGIN; GRANT shop_web"
        ) as e:
            migrate(conn)
        advice = str(e.value).partition("run: ")[2].partition(" and migrate")[0]
        with psycopg.connect(own_server.url, autocommit=True) as administrator:
            administrator.execute(advice.encode())

        migrate(conn)
        conn.execute("SET ROLE shop_web")
