"""How many statements a page sends, over Django's connections and the kernel's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from ecommerce.messaging.tenancy import TELL


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that were sent, once the block is left. For whom a connection works is told
    along with the first of them, and is not counted."""
    found: list[str] = []
    plain: Any = psycopg.Connection.execute

    def execute(conn: Any, query: Any, *args: Any, **options: Any) -> Any:
        if query != TELL and not str(query).startswith("NOTIFY"):  # a thread's of its own
            found.append(str(query))
        return plain(conn, query, *args, **options)

    with (
        pytest.MonkeyPatch.context() as patch,
        CaptureQueriesContext(connections["default"]) as sent,
    ):
        patch.setattr(psycopg.Connection, "execute", execute)
        yield found
    found += [query["sql"] for query in sent.captured_queries]
