"""Every service on a database of its own, with its own tables only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connections
from psycopg import sql

from tests import databases

T = TypeVar("T", bound=Callable[..., None])

IN_BOTH_FORMS = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("databases_apart"),
    pytest.mark.parametrize("form", ["together", "apart"], indirect=True),
]
"""Marks for a module whose journeys run with all services in one database, and with seven."""


def in_both_forms(journey: T) -> T:
    """The same for a single journey."""
    for mark in IN_BOTH_FORMS:
        journey = mark(journey)
    return journey


def clone(process: str) -> dict[str, str]:
    """Make seven databases from the run's template; return their names by service."""
    template = urlsplit(databases.template_url()).path.removeprefix("/")
    names = {label: f"{os.environ['TEST_RUN']}_{label}_{process}" for label in settings.SERVICES}
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        # The template can be cloned by one process at a time.
        server.execute("SELECT pg_advisory_lock(hashtext(%s))", [os.environ["TEST_RUN"]])
        for name in names.values():
            server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
    for label, name in names.items():
        with psycopg.connect(os.environ["TEST_DATABASE_URL"], dbname=name) as conn:
            _drop_tables_of_others(conn, label)
    return names


def _drop_tables_of_others(conn: psycopg.Connection, label: str) -> None:
    """Whoever reads another service's tables in this database fails, as in production."""
    others = [model for model in apps.get_models() if model._meta.app_label != label]
    tables = sql.SQL(", ").join(sql.Identifier(model._meta.db_table) for model in others)
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(tables))


@contextmanager
def aliases(names: dict[str, str]) -> Iterator[None]:
    """Tell Django of the databases of `clone`. It must know them before a test's set-up."""
    for label, name in names.items():
        connections.settings[label] = connections.settings["default"] | {"NAME": name}
    try:
        yield
    finally:
        for label in names:
            connections[label].close()
            del connections[label]
            del connections.settings[label]


@contextmanager
def my_turn() -> Iterator[None]:
    """Be the only process of the run that has its services apart: a worker for seven databases
    holds a connection to each for each, and the server of the tests has not so many."""
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as turns:
        turns.execute("SELECT pg_advisory_lock(hashtext(%s))", [f"{os.environ['TEST_RUN']} apart"])
        yield
