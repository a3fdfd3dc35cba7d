"""A second database with all tables, and services that live there for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql

from tests import databases

ALIAS = "elsewhere"


class Elsewhere:
    """The alias `elsewhere` of Django, and which services it holds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def move(self, *labels: str) -> None:
        """Let services live there from now on, without what they had."""
        for label in labels:
            settings.SERVICE_DATABASES[label] = ALIAS

    @contextmanager
    def down(self) -> Iterator[None]:
        """For a while nobody can connect to it."""
        place = connections[ALIAS].settings_dict
        place["NAME"] = f"{self.name}_is_down"
        try:
            yield
        finally:
            place["NAME"] = self.name


def clone(process: str) -> str:
    """Make the database from the run's template; return its name."""
    template = urlsplit(databases.template_url()).path.removeprefix("/")
    name = f"{os.environ['TEST_RUN']}_{ALIAS}_{process}"
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        # The template can be cloned by one process at a time.
        server.execute("SELECT pg_advisory_lock(hashtext(%s))", [os.environ["TEST_RUN"]])
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return name


def open_alias(name: str) -> None:
    """Tell Django of the database."""
    connections.settings[ALIAS] = connections.settings["default"] | {"NAME": name}


def close_alias() -> None:
    """Empty the database, and make Django forget it."""
    # Under its own name Django's test case would refuse it: it came after the test began.
    ours = connections[ALIAS].copy("default")
    databases.empty(ours)
    ours.close()
    del connections[ALIAS]
    del connections.settings[ALIAS]
