"""No process starts on wiring that is wrong, however it is started; and commands start quickly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from ecommerce.messaging.worker import Worker
from tests.messaging.steps import fetch

CELERY = ("-m", "celery", "-A", "ecommerce")
GRANIAN = ("-m", "granian", "--port", "0", "--interface")


def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a process to its end. One that starts well is told to end after a while."""
    return subprocess.run(
        ["timeout", "100", sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "check"),
        ("manage.py", "runworker"),
        ("manage.py", "runworker", "--processes", "2"),
        (*GRANIAN, "wsgi", "ecommerce.wsgi:application"),
        (*GRANIAN, "asginl", "ecommerce.asgi:application"),
        (*CELERY, "worker"),
        (*CELERY, "beat"),
    ],
    ids=" ".join,
)
def test_what_is_wired_wrongly_does_not_start(command: tuple[str, ...], tmp_path: Path) -> None:
    schedule = ("--schedule", str(tmp_path / "beat")) if "beat" in command else ()

    ended = start(*command, *schedule, DJANGO_SETTINGS_MODULE="tests.miswired.settings")

    assert ended.returncode == 1
    for id_, what in (
        ("messaging.E001", "orders.CancelOrder has 2 handlers in orders."),
        ("messaging.E008", "billing.bill belongs to no installed service."),
        ("messaging.E021", "MESSAGING_POLICIES is 'tests.miswired.POLICIES'"),
    ):
        assert any(id_ in line and what in line for line in ended.stderr.splitlines()), ended.stderr


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize("command", [("manage.py", "runworker"), (*CELERY, "worker")], ids=" ".join)
def test_a_worker_does_not_start_when_the_code_has_lost_a_handler(command: tuple[str, ...]) -> None:
    Worker(["analytics"])
    fetch("analytics", "INSERT INTO {handler} VALUES ('analytics.gone', 'handles') RETURNING 1")

    ended = start(*command, WORKER_SERVICES="analytics")

    assert ended.returncode == 1
    assert "the code has no handler named analytics.gone" in ended.stderr


def test_a_celery_worker_does_not_start_on_a_database_without_tables() -> None:
    ended = start(*CELERY, "worker", DATABASE_URL=os.environ["TEST_DATABASE_URL"])

    assert ended.returncode == 1
    assert "run `manage.py migrate` first" in ended.stderr


LATER = {"amqp", "argon2", "billiard", "celery", "granian", "kombu", "prometheus_client", "redis"}
"""Libraries that only some processes need; the largest would double what a command takes to start."""
PAGES = {"ecommerce.urls", "ecommerce.api", "ecommerce.console.pages", "customers.pages"}


def imported(command: str) -> set[str]:
    """Every module that a command loads."""
    run = f"import sys, manage; sys.argv[1:] = ['{command}']; manage.main(); "
    ended = start("-c", run + "print(*sys.modules, file=sys.stderr)")
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.splitlines()[-1].split())


def test_a_command_imports_neither_celery_nor_servers_nor_pages() -> None:
    found = imported("help")

    assert {"django", "orders.handlers", "ecommerce.messaging.checks"} <= found
    assert (LATER | PAGES) & found == set()


def test_control_with_the_pages_a_command_imports_them() -> None:
    assert imported("check") >= {"ecommerce.urls", "ecommerce.api"}
