"""`manage.py migrate`, by one process at a time: several may start a new version at once."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.commands import migrate

from ecommerce.messaging.database import connect

LOCK = 7412


class Command(migrate.Command):
    """Django's, under an advisory lock of the database, which goes with the process."""

    def handle(self, *args: Any, **options: Any) -> None:
        with connect(options["database"], f"migrate:{os.getpid()}") as conn:
            conn.execute("SET lock_timeout = 0")  # whoever migrates may take its time
            conn.execute("SELECT pg_advisory_lock(%b::bigint)", (LOCK,))
            super().handle(*args, **options)
