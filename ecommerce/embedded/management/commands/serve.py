"""`manage.py serve`: the whole platform on one machine, as `make run` starts it."""

import os
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import closing
from typing import Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from ecommerce import embedded
from ecommerce.embedded import supervisor
from ecommerce.embedded.supervisor import Program

HOST = "127.0.0.1"
PAGES = {
    "Start here": "/",
    "Shop": "/shop/",
    "Console": "/console/",
    "Analytics": "/analytics/",
    "API": "/api/docs",
    "Admin": "/admin/",
    "Health": "/health",
}


class Command(BaseCommand):
    help = "Run the whole platform: the database, migrations, demo data, web server and workers."
    requires_system_checks: tuple[str, ...] = ()  # the programs that it starts run them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=os.environ.get("PORT") or 8000)
        parser.add_argument("--workers", type=int, default=1, help="worker processes (1)")

    def handle(self, *args: Any, port: int, workers: int, **options: Any) -> None:
        require_free(port)
        try:
            prepare_databases(self.stdout.write)
        except OperationalError as error:
            raise CommandError(f"The database cannot be used. {error}") from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        ended = supervisor.run(
            programs(port, workers),
            environment(),
            is_ready=lambda: answers(port),
            announce=lambda: self._announce(port),
            say=self.stdout.write,
        )
        self.stdout.write("Stopping.")
        connections.close_all()
        embedded.detach(settings.BASE_DIR)
        if ended is not None:
            raise CommandError(f"{ended}; the others were stopped. Its output is above.")
        self.stdout.write("Stopped.")

    def _announce(self, port: int) -> None:
        self.stdout.write(welcome(port))
        self.stdout.flush()  # at once, also into a file


def require_free(port: int) -> None:
    with closing(socket.socket()) as probe:
        # As servers do, so that connections of a server that has ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise CommandError(f"Port {port} is for root. Choose another: {hint(8000)}") from error
        except (OSError, OverflowError) as error:
            raise CommandError(f"Port {port} is taken. Choose another: {hint(port + 1)}") from error


def hint(port: int) -> str:
    return f"PORT={port} make run"


def prepare_databases(say: Callable[[str], None]) -> None:
    for alias in connections:
        if unapplied := count_unapplied(alias):
            say(f"Applying {unapplied} migrations to the database {alias!r}.")
            call_command("migrate", database=alias, verbosity=0, interactive=False)
    if "seed" in get_commands():
        call_command("seed")
    connections.close_all()


def count_unapplied(alias: str) -> int:
    executor = MigrationExecutor(connections[alias])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def programs(port: int, workers: int) -> list[Program]:
    web = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "asginl",
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    web += ["--workers", "1", "--no-access-log", "--log-level", "error"]
    web += ["--workers-kill-timeout", "5", "ecommerce.asgi:application"]
    found = [Program("The web server", web)]
    if workers and "runworker" in get_commands():
        manage = str(settings.BASE_DIR / "manage.py")
        worker = [sys.executable, manage, "runworker", "--processes", str(workers)]
        found.append(Program("The worker", worker, replaced=True))
    return found


def environment() -> dict[str, str]:
    # Debugging pages keep every statement in memory and reread templates; DEBUG=1 asks for them.
    return {"DEBUG": "0", "PYTHONUNBUFFERED": "1", **os.environ}


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def welcome(port: int) -> str:
    pages = [f"  {name:<12}http://localhost:{port}{path}" for name, path in PAGES.items()]
    return "\n".join(["", *pages, "", "  Ctrl-C stops everything.", ""])
