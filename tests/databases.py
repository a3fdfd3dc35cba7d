"""The databases of a test run: one server, one migrated template, one clone per process.

The process that the user started owns the server: an embedded one that is thrown away, or the one
that TEST_DATABASE_URL names (the role must be a superuser). The first process that needs a database
migrates the template; each then clones it, which takes a third of a second.

`TEST_DATABASE_URL` and `TEST_RUN` in the environment tell the processes of a run about it.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ecommerce.embedded import places, postgres

LARGE = 8 * 8192  # bytes, from which TRUNCATE is faster than DELETE
# Made by Django after migrations, and changed by nobody: kept by `empty`.
KEPT = ["django_content_type", "auth_permission", "django_migrations"]


# A run


@contextmanager
def run() -> Iterator[None]:
    """Own the server of a run, and point every process of the run at it."""
    os.environ["TEST_RUN"] = f"test_ecommerce_{uuid.uuid4().hex[:8]}"
    with _server() as url:
        os.environ["TEST_DATABASE_URL"] = url
        # For settings that are loaded by the processes to come.
        os.environ["DATABASE_URL"] = url
        for alias in settings.DATABASES:
            _point(alias, url)
        try:
            yield
        finally:
            _drop_databases(url)


@contextmanager
def _server() -> Iterator[str]:
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with throw_away_server(durable=False) as server:
        yield server.url
    del os.environ["TEST_DATABASE_URL"]


@contextmanager
def throw_away_server(*, durable: bool) -> Iterator[postgres.Server]:
    directory = places.throw_away_directory()
    try:
        with postgres.server(directory, durable=durable) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _drop_databases(url: str) -> None:
    connections.close_all()
    with psycopg.connect(url, autocommit=True) as server:
        ours = server.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
            [os.environ["TEST_RUN"]],
        )
        for (name,) in ours.fetchall():
            server.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


# A process


def clone_for(process: str) -> None:
    """Give this process a clone of the template for each alias, and make Django use them.

    Programs that a test starts find them, too: DATABASE_URL and its like are set.
    """
    run_name = os.environ["TEST_RUN"]
    with _alone() as server:
        for alias in settings.DATABASES:
            template = f"{run_name}_{alias}"
            if not _exists(server, template):
                _make_template(server, alias, template)
            clone = f"{run_name}_{alias}_{process}"
            server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(clone), sql.Identifier(template)
                )
            )
            url = _with_database(os.environ["TEST_DATABASE_URL"], clone)
            _point(alias, url)
            name = "DATABASE_URL" if alias == "default" else f"{alias.upper()}_DATABASE_URL"
            os.environ[name] = url


@contextmanager
def _alone() -> Iterator[psycopg.Connection]:
    """A connection to the server, by one process of the run at a time."""
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(hashtext(%s))", [os.environ["TEST_RUN"]])
        yield server


def _exists(server: psycopg.Connection, database: str) -> bool:
    found = server.execute("SELECT FROM pg_database WHERE datname = %s", [database])
    return found.fetchone() is not None


def _make_template(server: psycopg.Connection, alias: str, template: str) -> None:
    unfinished = f"{template}_unfinished"
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
    _point(alias, _with_database(os.environ["TEST_DATABASE_URL"], unfinished))
    call_command("migrate", database=alias, verbosity=0, interactive=False)
    _remember_rows(connections[alias])
    connections[alias].close()
    server.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
            sql.Identifier(unfinished), sql.Identifier(template)
        )
    )


def template_url(alias: str = "default") -> str:
    """The template, for a tool such as pg_dump. Nobody may be connected when it is cloned."""
    return _with_database(os.environ["TEST_DATABASE_URL"], f"{os.environ['TEST_RUN']}_{alias}")


def _point(alias: str, url: str) -> None:
    parts = conninfo_to_dict(url)
    database = connections.settings[alias]
    database["ENGINE"] = "django.db.backends.postgresql"
    for key, part in (("NAME", "dbname"), ("USER", "user"), ("PASSWORD", "password")):
        database[key] = parts.get(part) or ""
    database["HOST"], database["PORT"] = parts.get("host") or "", parts.get("port") or ""
    database["OPTIONS"].pop("pool", None)
    # A wrapper that exists was made for the address before.
    for connection in connections.all(initialized_only=True):
        if connection.alias == alias:
            connection.close()
            del connections[alias]


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


# A test that commits

WRITTEN = """
    SELECT format('%%I.%%I', space.nspname, class.relname), pg_relation_size(class.oid)
    FROM pg_class class JOIN pg_namespace space ON space.oid = class.relnamespace
    WHERE class.relkind = 'r' AND class.relpersistence <> 't'
      AND space.nspname NOT IN ('pg_catalog', 'information_schema', 'pristine')
      AND class.relname <> ALL (%s) AND pg_relation_size(class.oid) > 0
"""
# Generated columns cannot be inserted.
REMEMBER = """
    CREATE SCHEMA pristine;
    CREATE TABLE pristine.statement (name text PRIMARY KEY, restore text NOT NULL);
    DO $$
    DECLARE name text; copy text; columns text;
    BEGIN
        FOREACH name IN ARRAY %s::text[] LOOP
            copy := format('pristine.%%I', name);
            EXECUTE format('CREATE TABLE %%s AS TABLE %%s', copy, name);
            SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
            WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
            INSERT INTO pristine.statement VALUES (name, format(
                'DELETE FROM %%s; INSERT INTO %%s (%%s) OVERRIDING SYSTEM VALUE SELECT %%s FROM %%s',
                name, name, columns, columns, copy));
        END LOOP;
    END $$;
"""


def empty(connection: BaseDatabaseWrapper) -> None:
    """Bring a database back to what the migrations left.

    Touches only tables that have bytes, the few of a hundred that were ever written. Deleting a few
    rows is ten times faster than TRUNCATE, which makes new files for the table and its indexes.
    """
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, [KEPT])
        sizes = dict(cursor.fetchall())
        cursor.execute(
            "SELECT name, restore FROM pristine.statement WHERE name = ANY (%s)", [[*sizes]]
        )
        restore = dict(cursor.fetchall())
        grown = [name for name, size in sizes.items() if size > LARGE and name not in restore]
        small = sizes.keys() - restore.keys() - set(grown)
        # One command, and so one transaction. Triggers, such as foreign keys and those that guard
        # append-only tables, are off in it; and a transaction that a test left open fails the test
        # instead of hanging the run.
        statements = [
            "SET LOCAL session_replication_role = replica",
            "SET LOCAL lock_timeout = '10s'",
            *([f"TRUNCATE {', '.join(grown)} CASCADE"] if grown else []),
            *[f"DELETE FROM {name}" for name in small],
            *restore.values(),
        ]
        cursor.execute("; ".join(statements))


def _remember_rows(connection: BaseDatabaseWrapper) -> None:
    """Keep a copy of the rows that migrations made, for `empty` to bring back."""
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, [KEPT])
        written = [name for name, _ in cursor.fetchall()]
        literal = sql.Literal(written).as_string(None)
        cursor.execute((REMEMBER % literal).replace("%%", "%"))
